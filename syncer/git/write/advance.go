package write

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/remote"
)

// ErrMoved reports that the branch was moved meanwhile, time and again.
var ErrMoved = errors.New("the branch keeps moving: try again")

// Advance moves the branch from one commit to a descendant of it. It fails with
// ErrMoved, having changed nothing, if the branch is elsewhere.
func Advance(ctx context.Context, repo *git.Repository, branch, from, to string, auth *remote.Auth) error {
	if repo.Local() {
		return moveLocal(repo, branch, from, to)
	}
	return push(ctx, repo, plumbing.NewBranchReferenceName(branch), plumbing.NewHash(from), plumbing.NewHash(to), auth)
}

// moveLocal moves a branch from old to new the way Git does, by its lock
// file, so that it excludes a push at the same moment.
func moveLocal(repo *git.Repository, branch, old, new string) error {
	name := plumbing.NewBranchReferenceName(branch)
	file := filepath.Join(repo.CommonDir(), filepath.FromSlash(name.String()))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // as Git creates it
		return fmt.Errorf("move branch %s: %w", branch, err)
	}
	lock := file + ".lock"
	f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) //nolint:gosec // as Git creates it
	if errors.Is(err, os.ErrExist) {
		return ErrMoved
	}
	if err != nil {
		return fmt.Errorf("lock branch %s: %w", branch, err)
	}
	defer os.Remove(lock)
	_, err = f.Write(append([]byte(new), '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("move branch %s: %w", branch, err)
	}
	if now, err := currentLocal(repo, name, file); err != nil || now != old {
		return errors.Join(ErrMoved, err)
	}
	giveTo(filepath.Join(repo.CommonDir(), "refs"), filepath.Dir(file), lock)
	if err := errors.Join(os.Rename(lock, file), syncPath(filepath.Dir(file))); err != nil {
		return fmt.Errorf("move branch %s: %w", branch, err)
	}
	return nil
}

func currentLocal(repo *git.Repository, name plumbing.ReferenceName, file string) (string, error) {
	if data, err := os.ReadFile(file); err == nil {
		return string(bytes.TrimSpace(data)), nil
	}
	var at plumbing.Hash
	err := repo.Read(func(s *git.Storage) error {
		ref, err := s.Reference(name) // packed
		if err == nil {
			at = ref.Hash()
		}
		return err
	})
	return at.String(), err
}
