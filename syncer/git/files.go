package git

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"headway.dev/syncer/git/remote"
)

// FilesOptions say what a commit of files holds, and in whose name.
type FilesOptions struct {
	Branch string
	// Edits are the contents by path; nil removes the file.
	Edits             map[string][]byte
	Author, Committer Signature
	Message           string
	// Key signs the commit; nil leaves it unsigned.
	Key *SigningKey
}

// WriteFiles writes a commit with edited files on top of base, and leaves the
// branch where it is. It fails with a CheckedOutError if the branch cannot be
// moved behind the back of a working tree.
func (r *Repository) WriteFiles(base string, opts FilesOptions) (string, error) {
	if dir, out := r.checkedOut(opts.Branch); out {
		return "", &CheckedOutError{Branch: opts.Branch, Dir: dir}
	}
	tip, err := r.Commit(base)
	if err != nil {
		return "", err
	}
	var hash plumbing.Hash
	err = r.read(func() error {
		w := &writer{r: r}
		edits := map[string]edit{}
		for name, data := range opts.Edits {
			if data == nil {
				edits[name] = edit{}
				continue
			}
			old, err := r.entry(plumbing.NewHash(tip.Tree), name)
			if err != nil {
				return err
			}
			if old.Mode == 0 {
				old.Mode = filemode.Regular
			}
			blob, err := w.blob(data)
			if err != nil {
				return err
			}
			edits[name] = edit{Mode: old.Mode, Hash: blob}
		}
		tree, err := w.tree(plumbing.NewHash(tip.Tree), edits)
		if err != nil {
			return err
		}
		if tree.IsZero() {
			if tree, err = w.object(&object.Tree{}); err != nil {
				return err
			}
		}
		hash, err = w.commit(&object.Commit{
			Author: object.Signature(opts.Author), Committer: object.Signature(opts.Committer), Message: opts.Message,
			TreeHash: tree, ParentHashes: []plumbing.Hash{plumbing.NewHash(base)},
		}, opts.Key)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("write a commit on %s: %w", opts.Branch, err)
	}
	return hash.String(), nil
}

// WriteRevert writes the commit that Revert would, on top of head, and leaves
// the branch where it is.
func (r *Repository) WriteRevert(head string, opts RevertOptions) (string, error) {
	hash, err := r.writeRevert(head, opts)
	if err != nil {
		return "", err
	}
	return hash.String(), nil
}

// Advance moves the branch from one commit to another that stands on it. It
// fails with ErrMoved, having changed nothing, if the branch is elsewhere.
func (r *Repository) Advance(ctx context.Context, branch, from, to string, auth *remote.Auth) error {
	if r.Local() {
		return r.moveLocal(branch, from, to)
	}
	return r.push(ctx, plumbing.NewBranchReferenceName(branch), plumbing.NewHash(from), plumbing.NewHash(to), auth)
}

// checkedOut says whether the branch is that of a working tree, and of which.
func (r *Repository) checkedOut(branch string) (dir string, out bool) {
	if !r.Local() || r.bare {
		return "", false
	}
	ref, err := r.store.Reference(plumbing.HEAD)
	return filepath.Dir(r.gitDir), err == nil && ref.Target() == plumbing.NewBranchReferenceName(branch)
}

func (w *writer) blob(data []byte) (plumbing.Hash, error) {
	return w.object(rawBlob(data))
}

// rawBlob is a file's content as an object.
type rawBlob []byte

// Encode implements what writer.object takes.
func (b rawBlob) Encode(o plumbing.EncodedObject) error {
	o.SetType(plumbing.BlobObject)
	o.SetSize(int64(len(b)))
	out, err := o.Writer()
	if err != nil {
		return err
	}
	if _, err := out.Write(b); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
