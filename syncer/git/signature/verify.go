package signature

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
)

// ErrUnsigned reports that a commit or tag has no signature of a trusted key.
var ErrUnsigned = errors.New("not signed by a trusted key")

// VerifyCommit returns which of the keys' owners signed the commit. It fails
// with an error that names the author and is ErrUnsigned for a commit that none
// of them signed, or that was changed since. now is when the keys must be
// valid.
func VerifyCommit(repo *git.Repository, sha string, keys *Keys, now time.Time) (Signer, error) {
	object, err := raw(repo, plumbing.CommitObject, sha)
	if err != nil {
		return Signer{}, err
	}
	o, err := splitCommit(object)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnsigned, err)
	}
	var signer Signer
	if err == nil {
		signer, err = keys.verify(o, now)
	}
	if err != nil {
		return Signer{}, fmt.Errorf("commit %s%s: %w", sha, by(repo, sha), err)
	}
	return signer, nil
}

// by tells a commit's author, for errors.
func by(repo *git.Repository, sha string) string {
	c, err := repo.Commit(sha)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" by %s <%s>", c.Author.Name, c.Author.Email)
}

// VerifyTag returns who signed the tag, as VerifyCommit does. A tag object that
// contains another name is refused: it was signed as a tag of that name.
func VerifyTag(repo *git.Repository, tag git.Tag, keys *Keys, now time.Time) (Signer, error) {
	object, err := raw(repo, plumbing.TagObject, tag.Object)
	if err != nil {
		return Signer{}, err
	}
	if name := tagName(object); name != tag.Name {
		return Signer{}, fmt.Errorf("%w: it was made as the tag %q", ErrUnsigned, name)
	}
	return keys.verify(splitTag(object), now)
}

// IsSigned reports whether a tag has a signature, by anyone.
func IsSigned(repo *git.Repository, tag git.Tag) (bool, error) {
	if tag.Object == "" {
		return false, nil
	}
	object, err := raw(repo, plumbing.TagObject, tag.Object)
	return err == nil && len(splitTag(object).signature) > 0, err
}

// VerifyBetween checks the signature of every commit in the history of new that
// is not in the history of old, including those that merges bring. The error
// names the first commit that no owner of the keys signed, and its author.
func VerifyBetween(ctx context.Context, repo *git.Repository, old, new string, keys *Keys, now time.Time) error {
	between, err := history.Since(ctx, repo, old, new)
	if err != nil {
		return err
	}
	for _, sha := range between {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("verify the commits from %s to %s: %w", old, new, err)
		}
		if _, err := VerifyCommit(repo, sha, keys, now); err != nil {
			return err
		}
	}
	return nil
}
