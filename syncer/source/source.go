package source

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/remote"
	"headway.dev/syncer/wire"
)

// hookPace is the least time between the beginnings of two looks at a source
// that webhooks ask for: what comes meanwhile is answered by one.
const hookPace = time.Second

// ErrNotYet says that the source is being looked at for the first time since
// the start: nothing is wrong, and the source wakes its Kustomizations.
var ErrNotYet = errors.New("the source is being fetched")

// ErrGone reports that the object of a source was deleted.
var ErrGone = errors.New("the source is gone")

// Source follows one object of a [Kind].
type Source struct {
	set  *Set
	Key  object.Key
	wake loop.Flag
	// moved asks for the group of the head.
	moved loop.Flag

	follower Follower

	mu      sync.Mutex
	head    git.Head // zero until there is one
	content Content  // nil until something is fetched
	auth    *remote.Auth
	next    time.Time
	// begun counts looks at the source, and rounds is the last of them that is finished,
	// for those who wait for one.
	begun     int
	rounds    int
	err       error
	announced string // head of the last progress event
	hooked    bool   // a webhook asks for a look
	joined    string // head that its Kustomizations were gathered for

	// committing serializes the commits of writes by hand: they change the same
	// branch, and the second has to stand on the first.
	committing chan struct{}
}

func newSource(s *Set, key object.Key) *Source {
	src := &Source{set: s, Key: key, wake: loop.NewFlag(), moved: loop.NewFlag(), committing: make(chan struct{}, 1)}
	src.follower = kinds[key.GroupKind].Follow(src)
	return src
}

// Name is NAMESPACE/NAME.
func (src *Source) Name() string { return src.Key.Namespace + "/" + src.Key.Name }

// Run checks the source whenever it is woken or due, until it is gone.
func (src *Source) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer src.follower.Close()
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
	r.begin()
	obj := r.set.env.Store.Get(r.Key)
	if obj == nil {
		return 0, loop.ErrGone
	}
	spec := r.spec(obj)
	r.set.options.Suspended(ctx, r.Key, obj)
	if spec.Suspend {
		r.began = time.Time{}
		r.done(nil, time.Time{})
		return 0, nil
	}
	r.began = r.set.env.Now()
	r.takeHooked() // this look answers them
	err = fault.Catch(func() error { return r.follower.Look(ctx, obj, r.wg) })
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	delay := r.wait(obj, spec, err)
	next := r.set.env.Now().Add(delay)
	r.follower.Report(ctx, obj, err, r.failures, next)
	r.done(err, next)
	return delay, nil
}

// wait counts a look that ended with err, and returns how long to wait for the
// next one.
func (r *rounds) wait(obj object.Object, spec Spec, err error) time.Duration {
	delay := env.Pace(spec.Interval)
	r.failures++
	switch {
	case err == nil:
		r.failures = 0
		fallthrough
	case refused(err):
		// The remote did its part: what it brought is looked at again as
		// often as something new would be.
		r.set.backoff.Forget(r.follower.Host(obj))
		r.set.backoff.Forget(r.Name())
	default:
		blame := r.Name()
		if r.follower.Unreachable(obj, err) {
			blame = r.follower.Host(obj)
		}
		delay = min(r.set.backoff.When(blame), r.follower.Failed())
	}
	return delay
}

func (src *Source) begin() {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.begun++
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
	src.rounds = src.begun
	src.err, src.next, src.announced = err, next, head.Commit
	src.mu.Unlock()
	src.set.env.Feed.Nudge()
	src.set.options.OnHead(src.Key)
	src.set.wakeIncluders(src.Key)
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
	return Head{Head: src.head, content: src.content}
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

// Begun returns how many checks of the source have begun. What is pushed afterwards is
// seen by those after it, of which [Source.Looks] tells.
func (src *Source) Begun() int {
	src.mu.Lock()
	defer src.mu.Unlock()
	return src.begun
}

// Looks returns the number of the last check of the source that is finished, with its
// result.
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

// Spec is what the spec of the source says; false: it is gone.
func (src *Source) Spec() (Spec, bool) {
	obj := src.set.env.Store.Get(src.Key)
	if obj == nil {
		return Spec{}, false
	}
	return src.spec(obj), true
}

func (src *Source) spec(obj object.Object) Spec { return kinds[src.Key.GroupKind].Spec(obj) }

// Branch is the branch that the source follows, to write to.
func (src *Source) Branch() (Branch, error) {
	obj := src.set.env.Store.Get(src.Key)
	if obj == nil {
		return Branch{}, ErrGone
	}
	return src.follower.Branch(obj)
}

// Trusted returns who signed a commit of the source, in the form in which it is
// recorded, if it was an owner of one of the keys that the source names. It fails
// for any other commit, and also if the source verifies no signatures at all: then
// nobody is trusted. The commit must have been fetched.
func (src *Source) Trusted(sha string) (signer string, err error) {
	obj := src.set.env.Store.Get(src.Key)
	if obj == nil {
		return "", errors.New("the source has not been fetched")
	}
	return src.follower.Trusted(obj, sha)
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

// Hook makes a webhook's request to fetch the source.
func (src *Source) Hook() {
	src.mu.Lock()
	src.hooked = true
	src.mu.Unlock()
	src.wake.Set()
}

// takeHooked reports whether a webhook asked for a look since it was called last.
func (src *Source) takeHooked() bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	hooked := src.hooked
	src.hooked = false
	return hooked
}

// holdBack waits while the last look, which began at a time, is too recent for
// another one that only webhooks ask for. It reports whether to go on.
func (src *Source) holdBack(ctx context.Context, began time.Time) bool {
	for src.takeHooked() {
		wait := hookPace - src.set.env.Now().Sub(began)
		if wait <= 0 {
			break
		}
		if !src.wake.Sleep(ctx, min(wait, hookPace)) {
			return false
		}
	}
	return ctx.Err() == nil
}

// Wake requests that the source be fetched.
func (src *Source) Wake() { src.wake.Set() }
