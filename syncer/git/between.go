package git

import (
	"container/heap"
	"fmt"
)

// Between lists the commits that to has in its history and from has not,
// newest first, at most limit; with an empty from, only the commit to.
func (r *Repository) Between(from, to string, limit int) ([]Commit, error) {
	tip, err := r.Commit(to)
	if err != nil || from == "" || from == to {
		if from == to {
			return nil, err
		}
		return []Commit{tip}, err
	}
	w := &walk{theirs: map[string]bool{from: true}, seen: map[string]bool{to: true, from: true}, queue: &commitHeap{tip}, open: 1}
	base, err := r.Commit(from)
	if err == nil {
		heap.Push(w.queue, base)
	} // else it is beyond what was fetched, and all of to is new
	var list []Commit
	for w.open > 0 && len(list) < limit {
		c, ok := heap.Pop(w.queue).(Commit)
		if !ok {
			break
		}
		theirs := w.theirs[c.SHA]
		if !theirs {
			w.open--
			list = append(list, c)
		}
		for _, p := range c.Parents {
			if err := w.visit(r, p, theirs); err != nil {
				return list, fmt.Errorf("list the commits between %s and %s: %w", from, to, err)
			}
		}
	}
	return list, nil
}

// walk goes through two histories at once, from new to old.
type walk struct {
	// theirs are the commits known to be in the history of from.
	theirs map[string]bool
	seen   map[string]bool
	queue  *commitHeap
	// open counts the queued commits that are not known to be theirs.
	open int
}

func (w *walk) visit(r *Repository, sha string, theirs bool) error {
	if w.seen[sha] {
		if theirs && !w.theirs[sha] {
			w.theirs[sha] = true
			for _, c := range *w.queue {
				if c.SHA == sha {
					w.open--
				}
			}
		}
		return nil
	}
	w.seen[sha] = true
	c, err := r.Commit(sha)
	if err != nil {
		return err
	}
	heap.Push(w.queue, c)
	if theirs {
		w.theirs[sha] = true
	} else {
		w.open++
	}
	return nil
}

// commitHeap has the newest commit on top.
type commitHeap []Commit

func (h commitHeap) Len() int           { return len(h) }
func (h commitHeap) Less(i, j int) bool { return h[i].Committer.When.After(h[j].Committer.When) }
func (h commitHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *commitHeap) Push(x any) {
	if c, ok := x.(Commit); ok {
		*h = append(*h, c)
	}
}

// Pop implements heap.Interface.
func (h *commitHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
