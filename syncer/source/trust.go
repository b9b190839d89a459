package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/signature"
	"headway.dev/syncer/status"
)

// refused reports whether a look failed for what was fetched or asked for, and
// not for the remote.
func refused(err error) bool {
	reason := fault.ReasonOf(err, "")
	return status.Unverified(reason) || status.Stalls(reason) || slices.Contains([]string{sourcev1.AuthenticationFailedReason, flux.IncludeNotFoundReason, flux.IncludeNoArtifactReason}, reason)
}

// secretsOf names the Secrets that a source uses, all of its namespace.
func secretsOf(obj *sourcev1.GitRepository) []string {
	var names []string
	if r := obj.Spec.SecretRef; r != nil {
		names = append(names, r.Name)
	}
	if r := obj.Spec.ProxySecretRef; r != nil {
		names = append(names, r.Name)
	}
	if v := obj.Spec.Verification; v != nil {
		names = append(names, v.SecretRef.Name)
	}
	return names
}

// keys are the trusted keys of spec.verify.
func keys(stored object.Reader, obj *sourcev1.GitRepository) (*signature.Keys, error) {
	data, err := Secret(stored, obj.Namespace, obj.Spec.Verification.SecretRef.Name)
	var keys *signature.Keys
	if err == nil {
		keys, err = signature.ParseKeys(data)
	}
	if err != nil {
		return nil, fmt.Errorf("PGP public keys secret error: %w", err)
	}
	return keys, nil
}

// verifier checks the signatures of what was fetched.
type verifier struct{ env *env.Env }

// verify checks the signatures that the spec and the annotation ask for, and
// returns what was verified, in Flux's words.
func (v verifier) verify(ctx context.Context, obj *sourcev1.GitRepository, repo *git.Repository, fetched git.Head) (string, error) {
	wish := flux.Of(obj).Verify
	every := wish.Value
	switch spec := obj.Spec.Verification; {
	case wish.Err() != nil:
		return "", fault.New(flux.InvalidVerificationModeReason, wish.Err())
	case every && spec == nil:
		return "", fault.New(flux.InvalidVerificationModeReason, fmt.Errorf("annotation %s needs spec.verify.secretRef, which names the trusted keys", wish.Name))
	case every && !fetched.Branch:
		return "", fault.New(flux.InvalidVerificationModeReason, fmt.Errorf("annotation %s needs spec.ref.branch: of %s no history is fetched", wish.Name, fetched.Revision()))
	case spec == nil:
		return "", nil
	case spec.VerifyTag() && fetched.Tag.Name == "":
		return "", fault.New(flux.InvalidVerificationModeReason, errors.New("cannot verify tag object's signature if a tag reference is not specified"))
	}
	trusted, err := keys(v.env.Store, obj)
	if err != nil {
		return "", fault.New(sourcev1.VerificationError, err)
	}
	var lines []string
	if obj.Spec.Verification.VerifyTag() {
		signer, err := v.verifyTag(repo, fetched.Tag, trusted)
		if err != nil {
			return "", err
		}
		lines = append(lines, fmt.Sprintf("\n\t- tag '%s' with key '%s'", fetched.Tag, signer.Key))
	}
	if obj.Spec.Verification.VerifyHEAD() || every {
		signer, err := signature.VerifyCommit(repo, fetched.Commit, trusted, v.env.Now())
		if err == nil && every {
			err = v.verifyEvery(ctx, obj, repo, fetched.Commit, trusted)
		}
		if err != nil {
			return "", fault.New(flux.InvalidCommitSignatureReason, fmt.Errorf("signature verification of commit '%s' failed: %w", fetched.Commit, err))
		}
		lines = append(lines, fmt.Sprintf("\n\t- commit '%s' with key '%s'", fetched.Commit, signer.Key))
	}
	return "verified signature of" + strings.Join(lines, ""), nil
}

func (v verifier) verifyTag(repo *git.Repository, tag git.Tag, keys *signature.Keys) (signature.Signer, error) {
	isSigned, err := signature.IsSigned(repo, tag)
	switch {
	case err != nil:
		return signature.Signer{}, fault.New(sourcev1.GitOperationFailedReason, err)
	case !isSigned:
		return signature.Signer{}, fault.New(flux.InvalidGitObjectReason, fmt.Errorf("cannot verify signature of tag '%s' since it is not signed", tag))
	}
	signer, err := signature.VerifyTag(repo, tag, keys, v.env.Now())
	if err != nil {
		return signature.Signer{}, fault.New(flux.InvalidTagSignatureReason, fmt.Errorf("signature verification of tag '%s' failed: %w", tag, err))
	}
	return signer, nil
}

// verifyEvery checks all commits that the new head has and the accepted one
// has not, those behind merges too. With no accepted head yet the new one
// stands for its history, as for whoever begins to follow a repository: the
// commits before the first signed one could never be signed.
func (v verifier) verifyEvery(ctx context.Context, obj *sourcev1.GitRepository, repo *git.Repository, commit string, keys *signature.Keys) error {
	before, ok := git.ParseRevision(flux.Fetched(obj))
	if !ok {
		return nil
	}
	return signature.VerifyBetween(ctx, repo, before.Commit, commit, keys, v.env.Now())
}

// Trusted implements Follower. It fails with signature.ErrUnsigned for a commit that
// nobody of spec.verify.secretRef signed, and if there is no spec.verify.
func (src *gitRepository) Trusted(o object.Object, sha string) (signer string, err error) {
	obj, ok := o.(*sourcev1.GitRepository)
	head, _ := src.Current()
	repo, missing := head.Repository()
	switch {
	case !ok || missing != nil:
		return "", errors.New("the source has not been fetched")
	case obj.Spec.Verification == nil:
		return "", fmt.Errorf("%w: GitRepository %s has no spec.verify, which names the keys", signature.ErrUnsigned, src.Name())
	default:
		trusted, err := keys(src.set.env.Store, obj)
		if err != nil {
			return "", err
		}
		by, err := signature.VerifyCommit(repo, sha, trusted, src.set.env.Now())
		if err != nil {
			return "", err
		}
		return by.String(), nil
	}
}
