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

// VerifyBetween checks the signature of every commit in the history of new
// that is not in the history of old: those that merges bring along, too. The
// error names the first commit it finds that no owner of the keys signed, and
// its author.
func (r *Repository) VerifyBetween(ctx context.Context, old, new string, keys *Keys, now time.Time) error {
	between, err := r.between(ctx, old, new, 0)
	if err != nil {
		return fmt.Errorf("list the commits from %s to %s: %w", old, new, err)
	}
	for _, sha := range between {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("verify the commits from %s to %s: %w", old, new, err)
		}
		if _, err := r.VerifyCommit(sha, keys, now); err != nil {
			return err
		}
	}
	return nil
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
