package git

import (
	"container/heap"
	"context"
	"fmt"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// Between lists the commits that to has in its history and from has not, each
// before its parents, the newest of those that may come next first, and at
// most limit; with an empty from, only the commit to. Dates decide about the
// order of what does not stand on each other, and about nothing else.
func (r *Repository) Between(from, to string, limit int) ([]Commit, error) {
	tip, err := r.Commit(to)
	if err != nil || from == "" || from == to {
		if from == to {
			return nil, err
		}
		return []Commit{tip}, err
	}
	list, err := r.between(context.Background(), from, to, limit)
	if err != nil {
		return nil, fmt.Errorf("list the commits between %s and %s: %w", from, to, err)
	}
	commits := make([]Commit, 0, len(list))
	for _, sha := range list {
		c, err := r.Commit(sha)
		if err != nil {
			return nil, err
		}
		commits = append(commits, c)
	}
	return commits, nil
}

// maxBetween bounds how many commits one walk between two commits looks at.
const maxBetween = 50_000

// between lists the commits that are in new's history and not in old's, each
// before its parents, and at most limit (0: all, or an error).
//
// The walk goes by the commits' times, which may lie: then it finds too many,
// and never too few. What stands on old cannot be in old's history; only for
// what else was found, that is read as a whole.
func (r *Repository) between(ctx context.Context, old, new string, limit int) ([]string, error) {
	f := frontier{read: r.commit, seen: map[plumbing.Hash]*stop{}}
	if err := f.add(plumbing.NewHash(new), false); err != nil {
		return nil, err
	}
	if err := f.add(plumbing.NewHash(old), true); err != nil && limit == 0 {
		return nil, fmt.Errorf("read the accepted commit: %w", err)
	} // else it is beyond what was fetched, and all of new's history is new
	for f.fresh > 0 && (limit == 0 || len(f.listed) < limit) {
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
	list := f.ordered()
	above := f.above(list, plumbing.NewHash(old))
	if !slices.ContainsFunc(list, func(v *stop) bool { return !above[v.hash] }) {
		return names(list), nil
	}
	known, err := r.history(ctx, old)
	if err != nil {
		return nil, err
	}
	return names(slices.DeleteFunc(list, func(v *stop) bool { return known[v.hash] })), nil
}

func names(list []*stop) []string {
	shas := make([]string, len(list))
	for i, v := range list {
		shas[i] = v.hash.String()
	}
	return shas
}

// ordered is what was found new, each commit before its parents.
func (f *frontier) ordered() []*stop {
	children := map[plumbing.Hash]int{}
	fresh := map[plumbing.Hash]*stop{}
	for _, v := range f.listed {
		if !v.known {
			fresh[v.hash] = v
			for _, p := range v.parents {
				children[p]++
			}
		}
	}
	var ready stops
	for hash, v := range fresh {
		if children[hash] == 0 {
			ready = append(ready, v)
		}
	}
	heap.Init(&ready)
	var list []*stop
	for len(ready) > 0 {
		v := heap.Pop(&ready).(*stop) //nolint:forcetypeassert // its own
		list = append(list, v)
		for _, p := range v.parents {
			if children[p]--; children[p] == 0 && fresh[p] != nil {
				heap.Push(&ready, fresh[p])
			}
		}
	}
	return list
}

// above are those of the commits, each before its parents, that stand on old.
func (f *frontier) above(list []*stop, old plumbing.Hash) map[plumbing.Hash]bool {
	set := map[plumbing.Hash]bool{}
	for _, v := range slices.Backward(list) {
		set[v.hash] = slices.ContainsFunc(v.parents, func(p plumbing.Hash) bool { return p == old || set[p] })
	}
	return set
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
