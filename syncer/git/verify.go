package git

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// ErrUnsigned says that a commit has no signature of a trusted key.
var ErrUnsigned = errors.New("not signed by a trusted key")

// Verify checks a commit's OpenPGP signature against the armored public keys
// of a Secret, under names that end in .asc. It returns the signer's identity.
// Commits that are not signed, or by another key, fail with ErrUnsigned.
func (r *Repository) Verify(sha string, keys map[string][]byte) (string, error) {
	var c *object.Commit
	err := r.read(func() (err error) {
		c, err = object.GetCommit(r.store, plumbing.NewHash(sha))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read commit %s: %w", sha, err)
	}
	if c.PGPSignature == "" {
		return "", fmt.Errorf("commit %s: no signature: %w", sha, ErrUnsigned)
	}
	if !strings.HasPrefix(strings.TrimSpace(c.PGPSignature), "-----BEGIN PGP") {
		return "", fmt.Errorf("commit %s: its signature is not OpenPGP, which is the only kind that can be checked yet: %w", sha, ErrUnsigned)
	}
	names := make([]string, 0, len(keys))
	for name := range keys {
		if strings.HasSuffix(name, ".asc") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "", errors.New("the secret holds no public keys: put them under names that end in .asc")
	}
	sort.Strings(names)
	var errs []error
	for _, name := range names {
		signer, err := c.Verify(string(keys[name]))
		if err == nil {
			if id := signer.PrimaryIdentity(); id != nil {
				return id.Name, nil
			}
			return fmt.Sprintf("key %X", signer.PrimaryKey.Fingerprint), nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	return "", fmt.Errorf("commit %s: %w: %w", sha, ErrUnsigned, errors.Join(errs...))
}
