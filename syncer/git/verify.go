package git

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// ErrUnsigned says that a commit or tag has no signature of a trusted key.
var ErrUnsigned = errors.New("not signed by a trusted key")

// VerifyCommit says who of the keys' owners signed the commit. It fails with
// an error that names the author and is ErrUnsigned for a commit that none of
// them signed, or that was changed since. now is when the keys must be valid.
func (r *Repository) VerifyCommit(sha string, keys *Keys, now time.Time) (Signer, error) {
	raw, err := r.raw(plumbing.CommitObject, sha)
	if err != nil {
		return Signer{}, err
	}
	o, err := splitCommit(raw)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnsigned, err)
	}
	var signer Signer
	if err == nil {
		signer, err = keys.verify(o, now)
	}
	if err != nil {
		return Signer{}, fmt.Errorf("commit %s%s: %w", sha, r.by(sha), err)
	}
	return signer, nil
}

// by tells a commit's author, for errors.
func (r *Repository) by(sha string) string {
	c, err := r.Commit(sha)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" by %s <%s>", c.Author.Name, c.Author.Email)
}

// VerifyTag says who signed the tag, as VerifyCommit. A tag object that gives
// itself another name is refused: it was signed as a tag of that name.
func (r *Repository) VerifyTag(tag Tag, keys *Keys, now time.Time) (Signer, error) {
	raw, err := r.raw(plumbing.TagObject, tag.Object)
	if err != nil {
		return Signer{}, err
	}
	if name := tagName(raw); name != tag.Name {
		return Signer{}, fmt.Errorf("%w: it was made as the tag %q", ErrUnsigned, name)
	}
	return keys.verify(splitTag(raw), now)
}

// IsSigned says whether a tag carries a signature, of whomever.
func (r *Repository) IsSigned(tag Tag) (bool, error) {
	if tag.Object == "" {
		return false, nil
	}
	raw, err := r.raw(plumbing.TagObject, tag.Object)
	return err == nil && len(splitTag(raw).signature) > 0, err
}
