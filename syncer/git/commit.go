package git

import (
	"container/heap"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Signature says who did something, and when.
type Signature struct {
	Name, Email string
	When        time.Time
}

// Commit is a commit's metadata.
type Commit struct {
	SHA, Tree         string
	Parents           []string
	Author, Committer Signature
	// Subject is the message's first line.
	Subject, Message string
}

// Parent is the first parent's SHA, or empty.
func (c Commit) Parent() string {
	if len(c.Parents) == 0 {
		return ""
	}
	return c.Parents[0]
}

// Reverts is the SHA of the commit that this one says it reverts, or empty.
func (c Commit) Reverts() string {
	_, rest, found := strings.Cut(c.Message, "This reverts commit ")
	if !found || len(rest) < 40 || !plumbing.IsHash(rest[:40]) {
		return ""
	}
	return rest[:40]
}

// reversed is the SHA of the commit that a revert says it goes back to, or
// empty if it names none: then it is the reverted commit's parent.
func (c Commit) reversed() string {
	_, rest, _ := strings.Cut(c.Message, "This reverts commit ")
	if len(rest) < 40 {
		return ""
	}
	rest, found := strings.CutPrefix(rest[40:], reversing)
	if !found || len(rest) < 40 || !plumbing.IsHash(rest[:40]) {
		return ""
	}
	return rest[:40]
}

// Commit reads a commit by its full SHA.
func (r *Repository) Commit(sha string) (Commit, error) {
	var c *object.Commit
	err := r.read(func() (err error) {
		c, err = object.GetCommit(r.store, plumbing.NewHash(sha))
		return err
	})
	if err != nil {
		return Commit{}, fmt.Errorf("read commit %s: %w", sha, err)
	}
	return describe(c), nil
}

func describe(c *object.Commit) Commit {
	parents := make([]string, len(c.ParentHashes))
	for i, p := range c.ParentHashes {
		parents[i] = p.String()
	}
	text := decoder(c)
	body := text(c.Message)
	subject, _, _ := strings.Cut(strings.TrimLeft(body, "\n"), "\n")
	// Who wrote the commit chose all of this, and terminals will show it.
	sign := func(s object.Signature) Signature {
		return Signature{Name: printable(text(s.Name), maxName), Email: printable(text(s.Email), maxName), When: s.When}
	}
	return Commit{
		SHA: c.Hash.String(), Tree: c.TreeHash.String(), Parents: parents,
		Author: sign(c.Author), Committer: sign(c.Committer), Subject: printable(subject, maxSubject), Message: message(body),
	}
}

// Bounds on what is told of a commit: characters of a name and of the
// subject, bytes of the message.
const (
	maxName    = 200
	maxSubject = 500
	maxMessage = 64 << 10
)

// message is a commit's message without control characters, bounded.
func message(text string) string {
	if len(text) > maxMessage {
		text = text[:maxMessage] + "…"
	}
	return strings.Map(func(c rune) rune {
		if c != '\n' && c != '\t' && unicode.IsControl(c) {
			return '?'
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
}

// Log lists up to limit commits from sha backwards along first parents.
func (r *Repository) Log(sha string, limit int) ([]Commit, error) {
	var list []Commit
	for len(list) < limit && sha != "" {
		c, err := r.Commit(sha)
		if err != nil {
			return list, err
		}
		list = append(list, c)
		sha = c.Parent()
	}
	return list, nil
}

// Resolve finds the commit that rev (a branch, a tag, a full or short SHA, or
// an expression such as HEAD~1) names in this repository.
func (r *Repository) Resolve(rev string) (string, error) {
	var found *plumbing.Hash
	err := r.read(func() error {
		repo, err := gogit.Open(r.store, nil)
		if err != nil {
			return err
		}
		// A mirror keeps the remote's branches where a clone does.
		for _, name := range []string{rev, "refs/remotes/" + remoteName + "/" + rev} {
			if found, err = repo.ResolveRevision(plumbing.Revision(name)); err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
		_, err = object.GetCommit(r.store, *found)
		return err
	})
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return "", fmt.Errorf("unknown revision %q: the repository has no branch, tag or commit of that name; is it pushed?", rev)
	}
	if err != nil {
		return "", fmt.Errorf("unknown revision %q: %w", rev, err)
	}
	return found.String(), nil
}

// IsAncestor says whether the commit ancestor is contained in the history of
// the commit sha. A commit that the repository does not have is no ancestor.
func (r *Repository) IsAncestor(ancestor, sha string) (bool, error) {
	if ancestor == sha {
		return true, nil
	}
	want, start := plumbing.NewHash(ancestor), plumbing.NewHash(sha)
	found := false
	err := r.read(func() error {
		if err := r.store.HasEncodedObject(want); err != nil {
			return err
		}
		var err error
		found, err = r.reaches(start, want)
		return err
	})
	// Only now: what was packed meanwhile is found at the second try.
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("compare the histories of %s and %s: %w", ancestor, sha, err)
	}
	return found, nil
}

// reaches says whether a commit is another one or after it. It looks at the
// newest first: the answer for a fast-forward is a few steps away, however
// long the history is. Dates only order the steps, so wrong clocks make it
// slower and not wrong.
func (r *Repository) reaches(start, want plumbing.Hash) (bool, error) {
	first, err := object.GetCommit(r.store, start)
	if err != nil {
		return false, err
	}
	queue, seen := commitQueue{first}, map[plumbing.Hash]bool{start: true}
	for len(queue) > 0 {
		c := heap.Pop(&queue).(*object.Commit)
		if c.Hash == want {
			return true, nil
		}
		for _, parent := range c.ParentHashes {
			if parent == want {
				return true, nil
			}
			if seen[parent] {
				continue
			}
			seen[parent] = true
			p, err := object.GetCommit(r.store, parent)
			if errors.Is(err, plumbing.ErrObjectNotFound) {
				continue // a shallow boundary
			}
			if err != nil {
				return false, err
			}
			heap.Push(&queue, p)
		}
	}
	return false, nil
}

// commitQueue is a heap of commits, the newest first.
type commitQueue []*object.Commit

func (q commitQueue) Len() int           { return len(q) }
func (q commitQueue) Less(i, j int) bool { return q[i].Committer.When.After(q[j].Committer.When) }
func (q commitQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *commitQueue) Push(x any)        { *q = append(*q, x.(*object.Commit)) }
func (q *commitQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
