package history

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"

	"headway.dev/syncer/git"
)

// Between returns at most limit commits that are in the history of to and not
// in that of from, each before its parents; among those that may come next, the
// newest is first. With an empty from it returns only the commit to. Dates
// decide only the order of commits that do not descend from each other.
func Between(repo *git.Repository, from, to string, limit int) ([]git.Commit, error) {
	tip, err := repo.Commit(to)
	if err != nil || from == "" || from == to {
		if from == to {
			return nil, err
		}
		return []git.Commit{tip}, err
	}
	list, err := newWalk(repo).between(context.Background(), plumbing.NewHash(from), plumbing.NewHash(to), limit)
	if err != nil {
		return nil, fmt.Errorf("list the commits between %s and %s: %w", from, to, err)
	}
	commits := make([]git.Commit, 0, len(list))
	for _, v := range list {
		c, err := repo.Commit(v.hash.String())
		if err != nil {
			return nil, err
		}
		commits = append(commits, c)
	}
	return commits, nil
}

// Since returns the SHAs of all commits in the history of new that are not in
// that of old, each before its parents. It fails if there are too many, or if
// old or one of them does not exist.
func Since(ctx context.Context, repo *git.Repository, old, new string) ([]string, error) {
	list, err := newWalk(repo).between(ctx, plumbing.NewHash(old), plumbing.NewHash(new), 0)
	if err != nil {
		return nil, fmt.Errorf("list the commits from %s to %s: %w", old, new, err)
	}
	shas := make([]string, len(list))
	for i, v := range list {
		shas[i] = v.hash.String()
	}
	return shas, nil
}

// IsAncestor reports whether the commit ancestor is in the history of the
// commit sha. A commit that the repository does not have is no ancestor.
func IsAncestor(repo *git.Repository, ancestor, sha string) (bool, error) {
	if ancestor == sha {
		return true, nil
	}
	want := plumbing.NewHash(ancestor)
	w := newWalk(repo)
	_, err := w.read(want)
	if err == nil {
		err = w.add(plumbing.NewHash(sha), false)
	}
	for err == nil && w.ahead.len() > 0 && w.seen[want] == nil {
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
