package git

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// maxBetween bounds how many commits one VerifyBetween looks at.
const maxBetween = 50_000

// VerifyBetween checks the signature of every commit in the history of new
// that is not in the history of old: those that merges bring along, too. The
// error names the first commit it finds that no owner of the keys signed, and
// its author.
func (r *Repository) VerifyBetween(ctx context.Context, old, new string, keys *Keys, now time.Time) error {
	between, err := r.between(ctx, old, new)
	if err != nil {
		return fmt.Errorf("list the commits from %s to %s: %w", old, new, err)
	}
	var known map[plumbing.Hash]bool
	for _, sha := range between {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("verify the commits from %s to %s: %w", old, new, err)
		}
		_, err := r.VerifyCommit(sha, keys, now)
		if err == nil {
			continue
		}
		// The walk goes by the commits' times, which may lie: it may list
		// what old has already, but leaves out nothing that old has not.
		if known == nil {
			var herr error
			if known, herr = r.history(ctx, old); herr != nil {
				return herr
			}
		}
		if !known[plumbing.NewHash(sha)] {
			return err
		}
	}
	return nil
}

// history is the commits that one can be reached from, itself among them, as
// far as they are there.
func (r *Repository) history(ctx context.Context, sha string) (map[plumbing.Hash]bool, error) {
	all := map[plumbing.Hash]bool{}
	todo := []plumbing.Hash{plumbing.NewHash(sha)}
	for len(todo) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("list the history of %s: %w", sha, err)
		}
		hash := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if all[hash] {
			continue
		}
		all[hash] = true
		if c, err := r.commit(hash); err == nil {
			todo = append(todo, c.ParentHashes...)
		}
	}
	return all, nil
}

// between lists commits, newest first, among them all that are in new's
// history and not in old's.
func (r *Repository) between(ctx context.Context, old, new string) ([]string, error) {
	f := frontier{read: r.commit, seen: map[plumbing.Hash]*stop{}}
	if err := f.add(plumbing.NewHash(new), false); err != nil {
		return nil, err
	}
	if err := f.add(plumbing.NewHash(old), true); err != nil {
		return nil, fmt.Errorf("read the accepted commit: %w", err)
	}
	for f.fresh > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(f.seen) > maxBetween {
			return nil, fmt.Errorf("they are more than %d", maxBetween)
		}
		if err := f.step(); err != nil {
			return nil, err
		}
	}
	var list []string
	for _, v := range f.listed {
		if !v.known {
			list = append(list, v.hash.String())
		}
	}
	return list, nil
}

func (r *Repository) commit(hash plumbing.Hash) (*object.Commit, error) {
	var c *object.Commit
	err := r.read(func() (err error) {
		c, err = object.GetCommit(r.store, hash)
		return err
	})
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil, fmt.Errorf("commit %s is not there: its history was not fetched whole", hash)
	}
	return c, err
}

// frontier goes through two histories at once, newest commit first, until all
// that is left in its queue is in the old one.
type frontier struct {
	read   func(plumbing.Hash) (*object.Commit, error)
	seen   map[plumbing.Hash]*stop
	queue  stops
	listed []*stop
	fresh  int // in the queue, and not known to be in old's history
}

type stop struct {
	hash    plumbing.Hash
	when    int64
	parents []plumbing.Hash
	known   bool // in old's history
	queued  bool
}

// add queues a commit, again if it turns out to be known after all, so that
// its parents hear of it.
func (f *frontier) add(hash plumbing.Hash, known bool) error {
	v := f.seen[hash]
	if v == nil {
		c, err := f.read(hash)
		if err != nil {
			return err
		}
		v = &stop{hash: hash, when: c.Committer.When.Unix(), parents: c.ParentHashes, known: known}
		f.seen[hash] = v
	} else {
		if v.known || !known {
			return nil
		}
		if v.queued {
			f.fresh--
		}
		v.known = true
	}
	if !v.queued {
		v.queued = true
		heap.Push(&f.queue, v)
	}
	if !v.known {
		f.fresh++
	}
	return nil
}

func (f *frontier) step() error {
	v, ok := heap.Pop(&f.queue).(*stop)
	if !ok {
		return errors.New("the queue is empty")
	}
	v.queued = false
	if !v.known {
		f.fresh--
		f.listed = append(f.listed, v)
	}
	for _, p := range v.parents {
		if err := f.add(p, v.known); err != nil {
			// What old stands on was verified, or is beyond a boundary.
			if v.known {
				continue
			}
			return err
		}
	}
	return nil
}

// stops is a heap, newest first.
type stops []*stop

func (q stops) Len() int           { return len(q) }
func (q stops) Less(i, j int) bool { return q[i].when > q[j].when }
func (q stops) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *stops) Push(x any)        { *q = append(*q, x.(*stop)) } //nolint:forcetypeassert // heap's own
func (q *stops) Pop() any {
	last := len(*q) - 1
	v := (*q)[last]
	*q = (*q)[:last]
	return v
}
