package git

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	list, err := newWalk(r.commit).between(context.Background(), plumbing.NewHash(from), plumbing.NewHash(to), limit)
	if err != nil {
		return nil, fmt.Errorf("list the commits between %s and %s: %w", from, to, err)
	}
	commits := make([]Commit, 0, len(list))
	for _, v := range list {
		c, err := r.Commit(v.hash.String())
		if err != nil {
			return nil, err
		}
		commits = append(commits, c)
	}
	return commits, nil
}

// VerifyBetween checks the signature of every commit in the history of new
// that is not in the history of old: those that merges bring along, too. The
// error names the first commit it finds that no owner of the keys signed, and
// its author.
func (r *Repository) VerifyBetween(ctx context.Context, old, new string, keys *Keys, now time.Time) error {
	between, err := newWalk(r.commit).between(ctx, plumbing.NewHash(old), plumbing.NewHash(new), 0)
	if err != nil {
		return fmt.Errorf("list the commits from %s to %s: %w", old, new, err)
	}
	for _, v := range between {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("verify the commits from %s to %s: %w", old, new, err)
		}
		if _, err := r.VerifyCommit(v.hash.String(), keys, now); err != nil {
			return err
		}
	}
	return nil
}

// IsAncestor reports whether the commit ancestor is contained in the history
// of the commit sha. A commit that the repository does not have is no ancestor.
func (r *Repository) IsAncestor(ancestor, sha string) (bool, error) {
	if ancestor == sha {
		return true, nil
	}
	want := plumbing.NewHash(ancestor)
	w := newWalk(r.commit)
	_, err := r.commit(want)
	if err == nil {
		err = w.add(plumbing.NewHash(sha), false)
	}
	for err == nil && len(w.queue) > 0 && w.seen[want] == nil {
		err = w.step(func(err error) error {
			if errors.Is(err, plumbing.ErrObjectNotFound) {
				return nil // a shallow boundary
			}
			return err
		})
	}
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("compare the histories of %s and %s: %w", ancestor, sha, err)
	}
	return w.seen[want] != nil, nil
}
