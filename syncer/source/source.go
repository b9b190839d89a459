package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/remote"
	"headway.dev/syncer/wire"
)

// localRetry bounds the wait for a local repository, which costs nothing to look
// for.
const localRetry = 5 * time.Second

// ErrNotYet says that the source is being looked at for the first time since
// the start: nothing is wrong, and the source wakes its Kustomizations.
var ErrNotYet = errors.New("the source is being fetched")

// Source follows one GitRepository.
type Source struct {
	set  *Set
	Key  object.Key
	wake loop.Flag
	// moved asks for the group of the head.
	moved loop.Flag

	mu   sync.Mutex
	repo *git.Repository
	url  string
	head git.Head // zero until there is one
	form shape    // of the head's tree
	auth *remote.Auth
	// verified says who signed the head, if signatures are checked.
	verified string
	next     time.Time
	// rounds counts finished looks at the source, for those who wait for one.
	rounds    int
	err       error
	watch     context.CancelFunc // ends the watch of a local repository
	reopen    bool
	announced string // head of the last progress event
	hooked    bool   // a webhook asks for a look
	joined    string // head that its Kustomizations were gathered for

	// committing serializes the commits of writes by hand: they change the same
	// branch, and the second has to stand on the first.
	committing chan struct{}
}

func newSource(s *Set, key object.Key) *Source {
	return &Source{set: s, Key: key, wake: loop.NewFlag(), moved: loop.NewFlag(), committing: make(chan struct{}, 1)}
}

// Name is NAMESPACE/NAME.
func (src *Source) Name() string { return src.Key.Namespace + "/" + src.Key.Name }

// Run checks the source whenever it is woken or due, until it is gone.
func (src *Source) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer src.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		_ = guard.Loop(ctx, "groups of a source", func(ctx context.Context) error { // it has no error
			defer fault.Discreetly()
			src.set.options.Apply(ctx, src, &wg)
			return nil
		})
	})
	r := rounds{Source: src, wg: &wg}
	loop.Follow(ctx, "look at source "+src.Name(), src.wake, env.Retry, r.turn)
}

// rounds are the looks at a source of one Run.
type rounds struct {
	*Source
	// wg has what the source started and waits for.
	wg *sync.WaitGroup
	// failures since the last success, in a row.
	failures int
	// began is when the last look did, if it is over.
	began time.Time
}

// turn looks at the source, and tells of it. A panic of look is one of its
// errors; one of what tells is a failure of the loop.
func (r *rounds) turn(ctx context.Context) (again time.Duration, err error) {
	defer fault.Discreetly()
	if !r.holdBack(ctx, r.began) {
		return 0, ctx.Err()
	}
	obj, ok := r.set.env.Store.Get(r.Key).(*sourcev1.GitRepository)
	if !ok || obj == nil {
		return 0, loop.ErrGone
	}
	r.set.options.Suspended(ctx, r.Key, obj)
	if obj.Spec.Suspend {
		r.began = time.Time{}
		r.done(nil, time.Time{})
		return 0, nil
	}
	r.began = r.set.env.Now()
	r.takeHooked() // this look answers them
	err = fault.Catch(func() error { return r.look(ctx, obj, r.wg) })
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	delay := r.wait(obj, err)
	next := r.set.env.Now().Add(delay)
	r.report(ctx, obj, err, r.failures, next)
	r.done(err, next)
	return delay, nil
}

// wait counts a look that ended with err, and returns how long to wait for the
// next one.
func (r *rounds) wait(obj *sourcev1.GitRepository, err error) time.Duration {
	delay := env.Pace(obj.Spec.Interval.Duration)
	r.failures++
	switch {
	case err == nil:
		r.failures = 0
		fallthrough
	case refused(err):
		// The remote did its part: what it brought is looked at again as
		// often as something new would be.
		r.set.backoff.Forget(host(obj))
		r.set.backoff.Forget(r.Name())
	default:
		delay = r.set.backoff.When(blame(obj, err))
		if r.failedLocal() {
			delay = min(delay, localRetry)
		}
	}
	return delay
}

// failedLocal makes a local repository that failed be opened anew.
func (src *Source) failedLocal() bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	_, local := src.set.options.Local[src.Name()]
	src.reopen = local && (src.repo == nil || src.repo.Local())
	return src.reopen
}

// done ends a round. It is announced before it counts: who waits for the round has
// then been sent what it brought.
func (src *Source) done(err error, next time.Time) {
	ev := wire.Event{Time: src.set.env.Now(), Source: src.Name(), Phase: wire.PhaseFetch}
	head, before := src.Current()
	ev.Revision = head.Revision()
	if err != nil {
		ev.Phase, ev.Message = wire.PhaseError, err.Error()
	} else if c, cerr := src.Commit(head.Commit); cerr == nil {
		ev.Commit = c
	}
	if err != nil || before != nil || src.announced != head.Commit {
		src.set.env.Emit(ev)
	} else {
		src.set.env.Feed.Send(ev) // for those who wait for a look
	}
	src.mu.Lock()
	src.rounds++
	src.err, src.next, src.announced = err, next, head.Commit
	src.mu.Unlock()
	src.set.env.Feed.Nudge()
	src.set.options.OnHead(src.Key)
	src.set.wakeIncluders(src.Key)
}

func (src *Source) close() {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.replace(nil, git.Head{})
}

// replace closes the repository and puts another in its place. It is called
// with mu held.
func (src *Source) replace(repo *git.Repository, at git.Head) {
	if src.watch != nil {
		src.watch()
	}
	if src.repo != nil {
		if err := src.repo.Close(); err != nil {
			src.set.env.Log.Warn("close repository", "source", src.Name(), "err", err)
		}
	}
	src.repo, src.head, src.watch = repo, at, nil
}

// Current returns the accepted head, and the error of the last fetch.
func (src *Source) Current() (Head, error) {
	src.mu.Lock()
	defer src.mu.Unlock()
	return src.accepted(), src.err
}

// Repository returns the accepted head and the Git repository that it is in.
func (src *Source) Repository() (Head, *git.Repository, error) {
	h, lastErr := src.Current()
	if !h.Fetched() {
		return h, nil, errors.Join(fmt.Errorf("source %s is not fetched yet", src.Name()), lastErr)
	}
	repo, err := h.Repository()
	return h, repo, err
}

// accepted is the accepted head. It is called with mu held.
func (src *Source) accepted() Head {
	h := Head{Head: src.head}
	if src.repo != nil {
		h.content = checkout{src.repo, src.form}
	}
	return h
}

// Auth returns the credentials with which the head was fetched.
func (src *Source) Auth() *remote.Auth {
	src.mu.Lock()
	defer src.mu.Unlock()
	return src.auth
}

// Due returns when the source is checked next.
func (src *Source) Due() time.Time {
	src.mu.Lock()
	defer src.mu.Unlock()
	return src.next
}

// Looks returns how many checks of the source are finished, with the result of
// the last one.
func (src *Source) Looks() (n int, revision string, err error) {
	src.mu.Lock()
	defer src.mu.Unlock()
	return src.rounds, src.accepted().Revision(), src.err
}

// LockBranch makes the caller the only one that commits to the source's branch,
// until UnlockBranch.
func (src *Source) LockBranch(ctx context.Context) error {
	select {
	case src.committing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// UnlockBranch allows the next caller to commit.
func (src *Source) UnlockBranch() { <-src.committing }

// Looked reports whether the first check since the start is finished.
func (src *Source) Looked() bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	return src.rounds > 0
}

// Commit is what is shown of a commit.
func (src *Source) Commit(sha string) (*wire.Commit, error) {
	h, _ := src.Current()
	if !h.Fetched() || sha == "" {
		return nil, errors.New("not fetched yet")
	}
	return h.At(git.Head{Commit: sha}).About()
}

// Commit is what is shown of a commit.
func Commit(c git.Commit) *wire.Commit {
	sign := func(s git.Signature) wire.Signature {
		return wire.Signature{Name: s.Name, Email: s.Email, Date: s.When}
	}
	return &wire.Commit{SHA: c.SHA, Parent: c.Parent(), Author: sign(c.Author), Committer: sign(c.Committer), Subject: c.Subject, Reverts: c.Reverts()}
}

// look fetches, and accepts the new head unless history was rewritten.
func (src *Source) look(ctx context.Context, obj *sourcev1.GitRepository, wg *sync.WaitGroup) error {
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

// blame is what a failed look counts against. It is the host only if that took
// no connection: a repository that is gone, too large or never sent must not
// make the others of its host wait, and neither must a proxy or an API that
// only this source uses.
func blame(obj *sourcev1.GitRepository, err error) string {
	dial, ok := errors.AsType[*net.OpError](err)
	if ok && dial.Op == "dial" && obj.Spec.ProxySecretRef == nil && obj.GetProvider() == sourcev1.GitProviderGeneric {
		return host(obj)
	}
	return obj.Namespace + "/" + obj.Name
}
