package git

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

	"headway.dev/syncer/git/remote"
)

// Temporary reports whether writing to a branch may succeed when it is tried
// again later: the remote was not reached or failed, or the branch kept moving.
// What the remote refuses (credentials, a hook, a protected branch) is not.
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
func (r *Repository) push(ctx context.Context, branch plumbing.ReferenceName, from, to plumbing.Hash, auth *remote.Auth) error {
	err := r.pushTo(ctx, branch, from, to, auth)
	if refused, ok := errors.AsType[*remote.RefusedError](err); ok {
		// Whether somebody else was first, the reference tells and not the words.
		if at, lookErr := r.lookAt(ctx, branch, auth); lookErr == nil && at != from || refused.Status == remote.NotUpdated {
			err = ErrMoved
		}
	}
	if err == nil || errors.Is(err, ErrMoved) {
		return err
	}
	return r.remote.Error(ctx, "push to", err)
}

func (r *Repository) pushTo(ctx context.Context, branch plumbing.ReferenceName, from, to plumbing.Hash, auth *remote.Auth) error {
	with, err := r.remote.Open(ctx, remote.ReceivePack, auth)
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
	commits, err := newWalk(r.commit).between(ctx, from, to, 0)
	if err != nil {
		return fmt.Errorf("list the commits to push: %w", err)
	}
	if !above(commits, from)[to] {
		return ErrMoved // what it stood on is not the branch any more
	}
	return with.Push(ctx, &packp.Command{Name: branch, Old: from, New: to}, func(w io.Writer, ofs bool) error {
		return r.pack(w, commits, ofs)
	})
}

// lookAt asks where the remote's branch is.
func (r *Repository) lookAt(ctx context.Context, branch plumbing.ReferenceName, auth *remote.Auth) (plumbing.Hash, error) {
	with, err := r.remote.Open(ctx, remote.ReceivePack, auth)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer with.Close()
	return with.Advertised.References[branch.String()], nil
}

// pack writes what the commits bring.
func (r *Repository) pack(w io.Writer, commits []*stop, ofs bool) error {
	var buf bytes.Buffer
	err := r.read(func() error {
		buf.Reset()
		objects := map[plumbing.Hash]bool{}
		for _, v := range commits {
			if err := r.brings(v, objects); err != nil {
				return err
			}
		}
		_, err := packfile.NewEncoder(&buf, r.store, !ofs).Encode(slices.Collect(maps.Keys(objects)), packWindow)
		return err
	})
	if err != nil {
		return fmt.Errorf("pack what to push: %w", err)
	}
	_, err = buf.WriteTo(w)
	return err
}

// brings adds the objects that a commit has and its first parent has not.
func (r *Repository) brings(v *stop, objects map[plumbing.Hash]bool) error {
	tree := func(commit plumbing.Hash) (plumbing.Hash, error) {
		c, err := object.GetCommit(r.store, commit)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		return c.TreeHash, nil
	}
	after, err := tree(v.hash)
	if err != nil {
		return err
	}
	var before plumbing.Hash
	if len(v.parents) > 0 {
		if before, err = tree(v.parents[0]); err != nil {
			return err
		}
	}
	objects[v.hash] = true
	return r.bringsBelow(before, after, objects)
}

func (r *Repository) bringsBelow(before, after plumbing.Hash, objects map[plumbing.Hash]bool) error {
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
