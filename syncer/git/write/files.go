package write

import (
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/signature"
)

// FilesOptions describe a commit of files and its author.
type FilesOptions struct {
	Branch string
	// Edits are the contents by path; nil removes the file.
	Edits             map[string][]byte
	Author, Committer git.Signature
	Message           string
	// Key signs the commit; nil leaves it unsigned.
	Key *signature.SigningKey
}

// Files writes a commit with edited files on top of base, and leaves the
// branch where it is. It fails with a CheckedOutError if the branch cannot be
// moved behind the back of a working tree.
func Files(repo *git.Repository, base string, opts FilesOptions) (string, error) {
	if dir, out := repo.WorkTree(opts.Branch); out {
		return "", &CheckedOutError{Branch: opts.Branch, Dir: dir}
	}
	tip, err := repo.Commit(base)
	if err != nil {
		return "", err
	}
	var hash plumbing.Hash
	err = repo.Read(func(s *git.Storage) error {
		w := &writer{reader{s}, repo}
		edits := map[string]edit{}
		for name, data := range opts.Edits {
			if data == nil {
				edits[name] = edit{}
				continue
			}
			old, err := w.entry(plumbing.NewHash(tip.Tree), name)
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

// RevertOn writes the commit that Revert would, on top of head, and leaves
// the branch where it is.
func RevertOn(repo *git.Repository, head string, opts RevertOptions) (string, error) {
	hash, err := writeRevert(repo, head, opts)
	if err != nil {
		return "", err
	}
	return hash.String(), nil
}
