package source

import (
	"context"
	"strings"

	"headway.dev/syncer/git"
	"headway.dev/syncer/tree"
	"headway.dev/syncer/wire"
)

// Head is a fetched state with its files. There are two ways to one: what the
// source has ([Source.Current]), and another commit of the same source ([Head.At]), so that none
// is without what the source includes.
type Head struct {
	git.Head
	content Content // nil: nothing is fetched yet
}

// Content is what the heads of a source are read from: what depends on the
// source's kind.
type Content interface {
	// Tree opens the files of a head, without those that the source ignores; ignore
	// is its spec.ignore.
	Tree(at git.Head, ignore string) (tree.Tree, error)
	// Mark distinguishes contents that yield different trees of the same revision.
	Mark() string
	// IncludedFrom returns the source from which a file is included, as
	// namespace/name, or empty.
	IncludedFrom(file string) string
	// Repository returns the Git repository with the heads' history, for what needs
	// that: what a commit says, whether it descends from another, who wrote a line,
	// commits and reverts. A kind that has none fails with its name.
	Repository() (*git.Repository, error)
}

// At is the head of another commit of the same source.
func (h Head) At(other git.Head) Head {
	h.Head = other
	return h
}

// About is what is shown of the head's commit.
func (h Head) About() (*wire.Commit, error) {
	repo, err := h.Repository()
	if err != nil {
		return nil, err
	}
	c, err := repo.Commit(h.Commit)
	if err != nil {
		return nil, err
	}
	return Commit(c), nil
}

// Fetched reports whether the source has been fetched.
func (h Head) Fetched() bool { return h.content != nil }

// Repository returns the Git repository with the head's history, or why there is
// none.
func (h Head) Repository() (*git.Repository, error) {
	if h.content == nil {
		return nil, ErrNotYet
	}
	return h.content.Repository()
}

// Tree opens the files of the head, without those that the source ignores;
// ignore is its spec.ignore.
func (h Head) Tree(ignore string) (tree.Tree, error) {
	if h.content == nil {
		return nil, ErrNotYet
	}
	return h.content.Tree(h.Head, ignore)
}

// Mark distinguishes heads of the same revision with different files.
func (h Head) Mark() string {
	if h.content == nil {
		return ""
	}
	return h.content.Mark()
}

// IncludedFrom returns the source from which a file of the head is included, as
// namespace/name, or empty.
func (h Head) IncludedFrom(file string) string {
	if h.content == nil {
		return ""
	}
	return h.content.IncludedFrom(file)
}

// ID distinguishes heads that have to be applied.
func (h Head) ID() string { return h.Revision() + "\n" + h.Mark() }

// Revision returns the revision in Flux's notation, empty before there is a
// commit.
func (h Head) Revision() string {
	if h.Commit == "" {
		return ""
	}
	return h.Head.Revision()
}

// Resolve finds the commit that a revision means; HEAD is the newest that the
// source has accepted, because a mirror has no other.
func (h Head) Resolve(rev string) (string, error) {
	repo, err := h.Repository()
	if err != nil {
		return "", err
	}
	return repo.Resolve(h.Absolute(rev))
}

// Absolute returns a revision that does not depend on what the repository calls
// HEAD.
func (h Head) Absolute(rev string) string {
	if rest, ok := strings.CutPrefix(rev, "HEAD"); ok && h.Commit != "" && (rest == "" || strings.ContainsRune("~^", rune(rest[0]))) {
		return h.Commit + rest
	}
	return rev
}

// Gathered reports whether the group that applies the head has run.
func (src *Source) Gathered(h Head) bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	return src.joined == h.ID()
}

// RequestGroup asks for the group that applies the head, which wakes the
// Kustomizations when it is over; false if it has run.
func (src *Source) RequestGroup(h Head) bool {
	if src.Gathered(h) {
		return false
	}
	src.moved.Set()
	return true
}

// AwaitHead waits until the group of a head is requested, and reports whether
// to continue.
func (src *Source) AwaitHead(ctx context.Context) bool { return src.moved.Sleep(ctx, 0) }

// SetGathered records that the group of a head has run.
func (src *Source) SetGathered(h Head) {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.joined = h.ID()
}
