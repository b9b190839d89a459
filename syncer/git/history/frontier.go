package history

import (
	"container/heap"

	"github.com/go-git/go-git/v5/plumbing"
)

// frontier has the commits from which a walk goes on, each once. Their dates only
// order its steps: the newest comes first, so that mostly all children of a commit
// were looked at before it is. The zero value is ready to use.
type frontier[T place] struct {
	queue   byDate[T]
	waiting map[plumbing.Hash]T
}

// place is a commit on a frontier.
type place interface {
	commit() plumbing.Hash
	when() int64
}

// add puts a commit on the frontier, which must not have it yet.
func (f *frontier[T]) add(v T) {
	if f.waiting == nil {
		f.waiting = map[plumbing.Hash]T{}
	}
	f.waiting[v.commit()] = v
	heap.Push(&f.queue, v)
}

// get returns the place of a commit that waits on the frontier.
func (f *frontier[T]) get(hash plumbing.Hash) (T, bool) {
	v, ok := f.waiting[hash]
	return v, ok
}

// next takes the newest commit from the frontier, which must not be empty.
func (f *frontier[T]) next() T {
	v := heap.Pop(&f.queue).(T) //nolint:forcetypeassert // its own
	delete(f.waiting, v.commit())
	return v
}

func (f *frontier[T]) len() int { return len(f.queue) }

// byDate is a heap of what has a date, the newest first.
type byDate[T interface{ when() int64 }] []T

func (q byDate[T]) Len() int           { return len(q) }
func (q byDate[T]) Less(i, j int) bool { return q[i].when() > q[j].when() }
func (q byDate[T]) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *byDate[T]) Push(x any) { *q = append(*q, x.(T)) } //nolint:forcetypeassert // heap's own

// Pop implements heap.Interface.
func (q *byDate[T]) Pop() any {
	last := len(*q) - 1
	v := (*q)[last]
	*q = (*q)[:last]
	return v
}
