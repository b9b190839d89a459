package write

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/git/remote"
)

// Temporary reports whether writing to a branch may succeed if it is tried
// again later: the remote was not reached or failed, or the branch kept moving.
// A refusal by the remote (credentials, a hook, a protected branch) is not
// temporary.
func Temporary(err error) bool {
	if errors.Is(err, ErrMoved) {
		return true
	}
	if remote.Final(err) {
		return false
	}
	_, said := errors.AsType[*remote.Error](err)
	return said
}

// packWindow is how many objects Git tries as the base of a delta.
const packWindow = 10

// push moves the remote's branch from one commit to another that stands on it.
// It fails with ErrMoved if the branch is elsewhere, and with a RefusedError if
// the remote does not let it be moved.
func push(ctx context.Context, repo *git.Repository, branch plumbing.ReferenceName, from, to plumbing.Hash, auth *remote.Auth) error {
	err := pushTo(ctx, repo, branch, from, to, auth)
	if refused, ok := errors.AsType[*remote.RefusedError](err); ok {
		// Whether somebody else was first, the reference tells and not the words.
		if at, lookErr := lookAt(ctx, repo, branch, auth); lookErr == nil && at != from || refused.Status == remote.NotUpdated {
			err = ErrMoved
		}
	}
	if err == nil || errors.Is(err, ErrMoved) {
		return err
	}
	return repo.Remote().Error(ctx, "push to", err)
}

func pushTo(ctx context.Context, repo *git.Repository, branch plumbing.ReferenceName, from, to plumbing.Hash, auth *remote.Auth) error {
	with, err := repo.Remote().Open(ctx, remote.ReceivePack, auth)
	if err != nil {
		return err
	}
	defer with.Close()
	switch at := with.Advertised.References[branch.String()]; at {
	case to:
		return nil
	case from:
	default:
		return ErrMoved
	}
	if above, err := history.IsAncestor(repo, from.String(), to.String()); err != nil {
		return err
	} else if !above {
		return ErrMoved // what it stood on is not the branch any more
	}
	commits, err := history.Since(ctx, repo, from.String(), to.String())
	if err != nil {
		return err
	}
	return with.Push(ctx, &packp.Command{Name: branch, Old: from, New: to}, func(w io.Writer, ofs bool) error {
		return pack(repo, w, commits, ofs)
	})
}

// lookAt asks where the remote's branch is.
func lookAt(ctx context.Context, repo *git.Repository, branch plumbing.ReferenceName, auth *remote.Auth) (plumbing.Hash, error) {
	with, err := repo.Remote().Open(ctx, remote.ReceivePack, auth)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer with.Close()
	return with.Advertised.References[branch.String()], nil
}

// pack writes what the commits bring.
func pack(repo *git.Repository, w io.Writer, commits []string, ofs bool) error {
	var buf bytes.Buffer
	err := repo.Read(func(s *git.Storage) error {
		r := reader{s}
		buf.Reset()
		objects := map[plumbing.Hash]bool{}
		for _, sha := range commits {
			if err := r.brings(plumbing.NewHash(sha), objects); err != nil {
				return err
			}
		}
		_, err := packfile.NewEncoder(&buf, s, !ofs).Encode(slices.Collect(maps.Keys(objects)), packWindow)
		return err
	})
	if err != nil {
		return fmt.Errorf("pack what to push: %w", err)
	}
	_, err = buf.WriteTo(w)
	return err
}

// brings adds the objects that a commit has and its first parent has not.
func (r reader) brings(commit plumbing.Hash, objects map[plumbing.Hash]bool) error {
	c, err := object.GetCommit(r.store, commit)
	if err != nil {
		return err
	}
	var before plumbing.Hash
	if len(c.ParentHashes) > 0 {
		parent, err := object.GetCommit(r.store, c.ParentHashes[0])
		if err != nil {
			return err
		}
		before = parent.TreeHash
	}
	objects[commit] = true
	return r.bringsBelow(before, c.TreeHash, objects)
}

func (r reader) bringsBelow(before, after plumbing.Hash, objects map[plumbing.Hash]bool) error {
	if before == after || objects[after] {
		return nil
	}
	objects[after] = true
	old, err := r.entries(before)
	if err != nil {
		return err
	}
	now, err := r.entries(after)
	if err != nil {
		return err
	}
	for name, e := range now {
		was := old[name]
		switch {
		case e == was, e.Mode == filemode.Submodule:
		case e.Mode == filemode.Dir:
			if was.Mode != filemode.Dir {
				was.Hash = plumbing.ZeroHash
			}
			if err := r.bringsBelow(was.Hash, e.Hash, objects); err != nil {
				return err
			}
		case e.Hash != was.Hash:
			objects[e.Hash] = true
		}
	}
	return nil
}
