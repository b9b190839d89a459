package history

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"headway.dev/syncer/git"
)

// maxWalk bounds how many commits one walk between two commits looks at.
const maxWalk = 50_000

// missingError says that a commit is beyond what was fetched.
type missingError struct{ hash plumbing.Hash }

func (e *missingError) Error() string {
	return fmt.Sprintf("commit %s is not there: its history was not fetched whole", e.hash)
}

func (e *missingError) Unwrap() error { return plumbing.ErrObjectNotFound }

// reader reads the commits of a repository.
func reader(repo *git.Repository) func(plumbing.Hash) (*object.Commit, error) {
	return func(hash plumbing.Hash) (*object.Commit, error) {
		var c *object.Commit
		err := repo.Read(func(s *git.Storage) (err error) {
			c, err = object.GetCommit(s, hash)
			return err
		})
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			return nil, &missingError{hash}
		}
		return c, err
	}
}

// walk goes through histories from commits to their parents. What it finds is
// either known, in the history of a commit that was added as known, or fresh.
//
// Dates only order its steps, as the answer mostly is a few steps away, however
// long the history is. They may lie, and then a commit is taken for fresh until a
// child of it turns out to be known.
type walk struct {
	read   func(plumbing.Hash) (*object.Commit, error)
	date   func(*object.Commit) int64
	seen   map[plumbing.Hash]*stop
	ahead  frontier[*stop]
	listed []*stop // in the order of the steps; some became known since
	fresh  int     // ahead
}

// stop is a commit on the way.
type stop struct {
	hash    plumbing.Hash
	date    int64
	parents []plumbing.Hash
	known   bool
}

func (v *stop) commit() plumbing.Hash { return v.hash }
func (v *stop) when() int64           { return v.date }

func newWalk(repo *git.Repository) *walk {
	return &walk{read: reader(repo), date: func(c *object.Commit) int64 { return c.Committer.When.Unix() }, seen: map[plumbing.Hash]*stop{}}
}

// add queues a commit, again if it turns out to be known after all, so that
// its parents hear of it.
func (w *walk) add(hash plumbing.Hash, known bool) error {
	v := w.seen[hash]
	_, queued := w.ahead.get(hash)
	if v == nil {
		c, err := w.read(hash)
		if err != nil {
			return err
		}
		v = &stop{hash: hash, date: w.date(c), parents: c.ParentHashes, known: known}
		w.seen[hash] = v
	} else {
		if v.known || !known {
			return nil
		}
		if queued {
			w.fresh--
		}
		v.known = true
	}
	if !queued {
		w.ahead.add(v)
	}
	if !v.known {
		w.fresh++
	}
	return nil
}

// step goes from the newest commit ahead to its parents. beyond says
// what to do about a parent of a fresh commit that cannot be read; of a known
// one nothing more is wanted.
func (w *walk) step(beyond func(error) error) error {
	v := w.ahead.next()
	if !v.known {
		w.fresh--
		w.listed = append(w.listed, v)
	}
	for _, p := range v.parents {
		if err := w.add(p, v.known); err != nil && !v.known {
			if err := beyond(err); err != nil {
				return err
			}
		}
	}
	return nil
}

// between walks until all that is in new's history and not in old's is found,
// and returns it in order. With a limit (0: none) it is content with as many.
func (w *walk) between(ctx context.Context, old, new plumbing.Hash, limit int) ([]*stop, error) {
	if err := w.add(new, false); err != nil {
		return nil, err
	}
	if err := w.add(old, true); err != nil && limit == 0 {
		return nil, fmt.Errorf("read the accepted commit: %w", err)
	} // else it is beyond what was fetched, and all of new's history is new
	enough := func() bool { return limit > 0 && len(w.listed) >= limit }
	beyond := func(err error) error {
		if enough() {
			return nil
		}
		return err
	}
	for w.fresh > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(w.seen) > maxWalk {
			if enough() {
				break
			}
			return nil, fmt.Errorf("they are more than %d", maxWalk)
		}
		if err := w.step(beyond); err != nil {
			return nil, err
		}
	}
	list := w.ordered()
	// What stands on old cannot be in its history. Whether something else is,
	// only the whole of that history tells.
	above := above(list, old)
	if slices.ContainsFunc(list, func(v *stop) bool { return !above[v.hash] }) {
		if err := w.settle(ctx); err != nil {
			return nil, err
		}
		list = slices.DeleteFunc(list, func(v *stop) bool { return v.known })
	}
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	return list, nil
}

// settle goes on from what is known to its beginnings, so that what is still
// fresh then is not in its history.
func (w *walk) settle(ctx context.Context) error {
	var todo []plumbing.Hash
	for _, v := range w.ahead.waiting {
		if v.known {
			todo = append(todo, v.parents...)
		}
	}
	done := map[plumbing.Hash]bool{}
	for len(todo) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		last := len(todo) - 1
		hash := todo[last]
		todo = todo[:last]
		v := w.seen[hash]
		if done[hash] || v != nil && v.known {
			continue
		}
		done[hash] = true
		if v != nil {
			v.known = true
			todo = append(todo, v.parents...)
		} else if c, err := w.read(hash); err == nil {
			todo = append(todo, c.ParentHashes...)
		}
	}
	return nil
}

// ordered is what is fresh of what was listed, each commit before its parents,
// the newest of those that may come next first.
func (w *walk) ordered() []*stop {
	children := map[plumbing.Hash]int{}
	fresh := map[plumbing.Hash]*stop{}
	for _, v := range w.listed {
		if !v.known {
			fresh[v.hash] = v
			for _, p := range v.parents {
				children[p]++
			}
		}
	}
	var ready frontier[*stop]
	for hash, v := range fresh {
		if children[hash] == 0 {
			ready.add(v)
		}
	}
	var list []*stop
	for ready.len() > 0 {
		v := ready.next()
		list = append(list, v)
		for _, p := range v.parents {
			if children[p]--; children[p] == 0 && fresh[p] != nil {
				ready.add(fresh[p])
			}
		}
	}
	return list
}

// above are those of the commits, each before its parents, that stand on old.
func above(list []*stop, old plumbing.Hash) map[plumbing.Hash]bool {
	set := map[plumbing.Hash]bool{}
	for _, v := range slices.Backward(list) {
		set[v.hash] = slices.ContainsFunc(v.parents, func(p plumbing.Hash) bool { return p == old || set[p] })
	}
	return set
}
