package source

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
)

// localRetry bounds the wait for a local repository, which costs nothing to look
// for.
const localRetry = 5 * time.Second

// gitRepositories is the kind GitRepository.
type gitRepositories struct{}

// Spec implements Kind.
func (gitRepositories) Spec(o object.Object) Spec {
	obj, ok := o.(*sourcev1.GitRepository)
	if !ok {
		return Spec{}
	}
	return Spec{
		Interval: obj.Spec.Interval.Duration, Suspend: obj.Spec.Suspend, URL: obj.Spec.URL, Verifies: obj.Spec.Verification != nil,
		Timeout: flux.GitTimeout(obj), Secrets: secretsOf(obj),
	}
}

// Follow implements Kind.
func (gitRepositories) Follow(src *Source) Follower { return &gitRepository{Source: src} }

// gitRepository follows a GitRepository. Its fields are guarded by mu of the source.
type gitRepository struct {
	*Source
	repo *git.Repository
	url  string
	form shape // of the head's tree
	// verified says who signed the head, if signatures are checked.
	verified string
	watch    context.CancelFunc // ends the watch of a local repository
	reopen   bool
}

// errKind is the error of an object that is of another kind than the source's.
func errKind(o object.Object) error { return fmt.Errorf("%T is no GitRepository", o) }

// Look implements Follower: it accepts the new head unless history was rewritten.
func (src *gitRepository) Look(ctx context.Context, o object.Object, wg *sync.WaitGroup) error {
	obj, ok := o.(*sourcev1.GitRepository)
	if !ok {
		return errKind(o)
	}
	if err := unsupportedSource(obj); err != nil {
		return fault.New(sourcev1.InvalidProviderConfigurationReason, err)
	}
	repo, err := src.open(ctx, obj, wg)
	if err != nil {
		return fault.New(sourcev1.URLInvalidReason, err)
	}
	auth, err := credentials(src.set.env.Store, obj)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, flux.GitTimeout(obj))
	defer cancel()
	ref := git.Ref{}
	if r := obj.Spec.Reference; r != nil {
		ref = git.Ref{Branch: r.Branch, Tag: r.Tag, SemVer: r.SemVer, Name: r.Name, Commit: r.Commit}
	}
	fetched, err := repo.Fetch(ctx, ref, auth)
	if err != nil {
		return fault.New(sourcev1.GitOperationFailedReason, fmt.Errorf("failed to checkout and determine revision: %w", err))
	}
	verified, err := verifier{src.set.env}.verify(ctx, obj, repo, fetched)
	if err != nil {
		return err
	}
	if err := checkHistory(src.set.env.Store, obj, repo, fetched); err != nil {
		return err
	}
	form, err := src.shape(obj)
	if err != nil {
		return err
	}
	if _, err := (Head{Head: fetched, content: checkout{repo, form}}).Tree(flux.Ignore(src.set.env.Store, src.Key)); err != nil {
		return fault.New(sourcev1.GitOperationFailedReason, err)
	}
	src.mu.Lock()
	src.head, src.form, src.auth, src.verified = fetched, form, auth, verified
	src.content = checkout{repo, form}
	src.mu.Unlock()
	return nil
}

// unsupportedSource fails for what would be wrong to ignore.
func unsupportedSource(obj *sourcev1.GitRepository) error {
	var fields []string
	if obj.Spec.RecurseSubmodules {
		fields = append(fields, "spec.recurseSubmodules")
	}
	if p := obj.GetProvider(); p != sourcev1.GitProviderGeneric && p != sourcev1.GitProviderGitHub {
		fields = append(fields, "spec.provider: "+p)
	}
	if len(fields) > 0 {
		return fmt.Errorf("not supported yet: %s", strings.Join(fields, ", "))
	}
	return nil
}

// Failed implements Follower: a local repository that failed is opened anew.
func (src *gitRepository) Failed() time.Duration {
	src.mu.Lock()
	defer src.mu.Unlock()
	_, local := src.set.options.Local[src.Name()]
	src.reopen = local && (src.repo == nil || src.repo.Local())
	if src.reopen {
		return localRetry
	}
	return math.MaxInt64
}

// Close implements Follower.
func (src *gitRepository) Close() {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.replace(nil, git.Head{})
}

// replace closes the repository and puts another in its place. It is called
// with mu held.
func (src *gitRepository) replace(repo *git.Repository, at git.Head) {
	if src.watch != nil {
		src.watch()
	}
	if src.repo != nil {
		if err := src.repo.Close(); err != nil {
			src.set.env.Log.Warn("close repository", "source", src.Name(), "err", err)
		}
	}
	src.repo, src.head, src.watch, src.content = repo, at, nil, nil
	if repo != nil {
		src.content = checkout{repo, src.form}
	}
}

// Host implements Follower.
func (src *gitRepository) Host(o object.Object) string {
	if obj, ok := o.(*sourcev1.GitRepository); ok {
		if u, err := url.Parse(obj.Spec.URL); err == nil && u.Host != "" {
			return u.Host
		}
	}
	return src.Name()
}

// Unreachable implements Follower. It is the host only if that took no connection: a
// repository that is gone, too large or never sent must not make the others of its
// host wait, and neither must a proxy or an API that only this source uses.
func (src *gitRepository) Unreachable(o object.Object, err error) bool {
	obj, ok := o.(*sourcev1.GitRepository)
	dial, failed := errors.AsType[*net.OpError](err)
	return ok && failed && dial.Op == "dial" && obj.Spec.ProxySecretRef == nil && obj.GetProvider() == sourcev1.GitProviderGeneric
}

// Outdated implements Follower.
func (src *gitRepository) Outdated(o object.Object, other object.Key, commit string) bool {
	obj, ok := o.(*sourcev1.GitRepository)
	if !ok || other.GroupKind != flux.GitRepository {
		return false
	}
	for i, in := range obj.Spec.Include {
		if in.GitRepositoryRef.Name == other.Name && src.includedCommit(i) != commit {
			return true
		}
	}
	return false
}

// Branch implements Follower.
func (src *gitRepository) Branch(o object.Object) (Branch, error) {
	obj, ok := o.(*sourcev1.GitRepository)
	if !ok {
		return Branch{}, errKind(o)
	}
	name, err := flux.BranchOf(obj)
	return Branch{Name: name, Object: obj, Spec: gitRepositories{}.Spec(obj)}, err
}
