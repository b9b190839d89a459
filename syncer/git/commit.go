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
	"golang.org/x/text/encoding/ianaindex"

	"headway.dev/syncer/git/remote"
)

// Signature is who did something, and when.
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

// Reverts is the SHA of the commit that this one claims to revert, or empty.
func (c Commit) Reverts() string {
	_, rest, found := strings.Cut(c.Message, "This reverts commit ")
	if !found || len(rest) < 40 || !plumbing.IsHash(rest[:40]) {
		return ""
	}
	return rest[:40]
}

// Commit reads a commit by its full SHA.
func (r *Repository) Commit(sha string) (Commit, error) {
	var c *object.Commit
	err := r.Read(func(*Storage) (err error) {
		c, err = object.GetCommit(r.store, plumbing.NewHash(sha))
		return err
	})
	if err != nil {
		return Commit{}, fmt.Errorf("read commit %s: %w", sha, err)
	}
	return Describe(c), nil
}

// Describe returns the metadata of a commit object.
func Describe(c *object.Commit) Commit {
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

// Bounds on what is shown of a commit: characters of a name and of the
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

// Log returns up to limit commits backwards from sha along first parents.
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
	err := r.Read(func(*Storage) error {
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

// decoder turns the texts of a commit into UTF-8, as its header encoding says.
// What that does not name, or names an unknown one, is taken as it is.
func decoder(c *object.Commit) func(string) string {
	same := func(s string) string { return s }
	name := strings.TrimSpace(string(c.Encoding))
	if name == "" || strings.EqualFold(name, "utf-8") || strings.EqualFold(name, "utf8") {
		return same
	}
	enc, err := ianaindex.IANA.Encoding(name)
	if err != nil || enc == nil {
		return same
	}
	return func(s string) string {
		out, err := enc.NewDecoder().String(s)
		if err != nil {
			return s
		}
		return out
	}
}
