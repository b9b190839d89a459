package git

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"headway.dev/syncer/git/remote"
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
		return Signature{Name: remote.Printable(text(s.Name), maxName), Email: remote.Printable(text(s.Email), maxName), When: s.When}
	}
	return Commit{
		SHA: c.Hash.String(), Tree: c.TreeHash.String(), Parents: parents,
		Author: sign(c.Author), Committer: sign(c.Committer), Subject: remote.Printable(subject, maxSubject), Message: message(body),
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
