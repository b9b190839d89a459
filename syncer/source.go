package syncer

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
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/remote"
	"headway.dev/syncer/wire"
)

const (
	// localRetry bounds the wait for a local repository, which costs nothing
	// to look for.
	localRetry = 5 * time.Second
	// historyRewritten is the reason of a branch that was force-pushed.
	historyRewritten = "HistoryRewritten"
)

// source follows one GitRepository.
type source struct {
	s    *Syncer
	key  object.Key
	wake env.Flag
	// moved asks for the group of the head.
	moved env.Flag

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
	rounds int
	err    error
	watch  context.CancelFunc // ends the watch of a local repository
	reopen bool
	told   string // head of the last progress event
	hooked bool   // a webhook asks for a look
	joined string // head that its Kustomizations were gathered for

	// committing serializes the commits of writes by hand: they change the same
	// branch, and the second has to stand on the first.
	committing chan struct{}
}

func newSource(s *Syncer, key object.Key) *source {
	return &source{s: s, key: key, wake: env.NewFlag(), moved: env.NewFlag(), committing: make(chan struct{}, 1)}
}

func (src *source) name() string { return src.key.Namespace + "/" + src.key.Name }

// run looks at the source whenever it is woken or due, until it is gone.
func (src *source) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer src.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		_ = guard.Loop(ctx, "groups of a source", func(ctx context.Context) error { // it has no error
			defer fault.Discreetly()
			src.gather(ctx, &wg)
			return nil
		})
	})
	failures := 0
	for {
		obj, ok := src.s.env.Store.Get(src.key).(*sourcev1.GitRepository)
		if !ok || obj == nil {
			return
		}
		src.s.tellSuspended(ctx, src.key, obj)
		if obj.Spec.Suspend {
			src.done(nil, time.Time{})
			if !src.wake.Sleep(ctx, 0) {
				return
			}
			continue
		}
		began := src.s.env.Now()
		src.takeHooked() // this look answers them
		err := fault.Catch(func() error { return src.look(ctx, obj, &wg) })
		if ctx.Err() != nil {
			return
		}
		delay := env.Pace(obj.Spec.Interval.Duration)
		switch {
		case err == nil:
			failures = 0
			src.s.backoff.Succeeded(src.host(obj), src.name())
		case refused(err):
			// The remote did its part: what it brought is looked at again as
			// often as something new would be.
			failures++
			src.s.backoff.Succeeded(src.host(obj), src.name())
		default:
			failures++
			delay = src.s.backoff.Failed(src.blame(obj, err))
			if src.failedLocal() {
				delay = min(delay, localRetry)
			}
		}
		next := src.s.env.Now().Add(delay)
		src.report(ctx, obj, err, failures, next)
		src.done(err, next)
		if !src.wake.Sleep(ctx, delay) || !src.holdBack(ctx, began) {
			return
		}
	}
}

// failedLocal makes a local repository that failed be opened anew.
func (src *source) failedLocal() bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	_, local := src.s.cfg.Local[src.name()]
	src.reopen = local && (src.repo == nil || src.repo.Local())
	return src.reopen
}

// done ends a round. It is told before it counts: who waits for the round has
// then been sent what it brought.
func (src *source) done(err error, next time.Time) {
	ev := wire.Event{Time: src.s.env.Now(), Source: src.name(), Phase: "fetch"}
	head, before := src.current()
	ev.Revision = head.revision()
	if err != nil {
		ev.Phase, ev.Message = "error", err.Error()
	} else if c, cerr := src.commit(head.Commit); cerr == nil {
		ev.Commit = c
	}
	if err != nil || before != nil || src.told != head.Commit {
		src.s.env.Emit(ev)
	} else {
		src.s.env.Feed.Send(ev) // for those who wait for a look
	}
	src.mu.Lock()
	src.rounds++
	src.err, src.next, src.told = err, next, head.Commit
	src.mu.Unlock()
	src.s.env.Feed.Nudge()
	src.s.wakeFollowers(src.key)
	src.s.wakeIncluders(src.key)
}

func (src *source) close() {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.replace(nil, git.Head{})
}

// replace closes the repository and puts another in its place. It is called
// with mu held.
func (src *source) replace(repo *git.Repository, at git.Head) {
	if src.watch != nil {
		src.watch()
	}
	if src.repo != nil {
		if err := src.repo.Close(); err != nil {
			src.s.env.Log.Warn("close repository", "source", src.name(), "err", err)
		}
	}
	src.repo, src.head, src.watch = repo, at, nil
}

// head is a fetched state with its files. There are two ways to one: what the
// source has (current), and another commit of the same source (at), so that none
// is without what the source includes.
type head struct {
	git.Head
	repo *git.Repository
	form shape
}

// at is the head of another commit of the same source.
func (h head) at(other git.Head) head {
	h.Head = other
	return h
}

func (h head) revision() string {
	if h.Commit == "" {
		return ""
	}
	return h.Revision()
}

// resolve finds the commit that a revision means; HEAD is the newest that the
// source has accepted, as a mirror has no other.
func (h head) resolve(rev string) (string, error) { return h.repo.Resolve(h.absolute(rev)) }

// absolute is a revision that does not depend on what the repository calls HEAD.
func (h head) absolute(rev string) string {
	if rest, ok := strings.CutPrefix(rev, "HEAD"); ok && h.Commit != "" && (rest == "" || strings.ContainsRune("~^", rune(rest[0]))) {
		return h.Commit + rest
	}
	return rev
}

// current is the accepted head, and the error of the last look.
func (src *source) current() (head, error) {
	src.mu.Lock()
	defer src.mu.Unlock()
	return src.accepted(), src.err
}

// accepted is the accepted head. It is called with mu held.
func (src *source) accepted() head {
	return head{Head: src.head, repo: src.repo, form: src.form}
}

// looked says whether the first look since the start is over.
func (src *source) looked() bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	return src.rounds > 0
}

func (src *source) commit(sha string) (*wire.Commit, error) {
	h, _ := src.current()
	if h.repo == nil || sha == "" {
		return nil, errors.New("not fetched yet")
	}
	c, err := h.repo.Commit(sha)
	if err != nil {
		return nil, err
	}
	return wireCommit(c), nil
}

func wireCommit(c git.Commit) *wire.Commit {
	sign := func(s git.Signature) wire.Signature {
		return wire.Signature{Name: s.Name, Email: s.Email, Date: s.When}
	}
	return &wire.Commit{SHA: c.SHA, Parent: c.Parent(), Author: sign(c.Author), Committer: sign(c.Committer), Subject: c.Subject, Reverts: c.Reverts()}
}

// look fetches, and accepts the new head unless history was rewritten.
func (src *source) look(ctx context.Context, obj *sourcev1.GitRepository, wg *sync.WaitGroup) error {
	if err := unsupportedSource(obj); err != nil {
		return fault.New(sourcev1.InvalidProviderConfigurationReason, err)
	}
	repo, err := src.open(ctx, obj, wg)
	if err != nil {
		return fault.New(sourcev1.URLInvalidReason, err)
	}
	auth, err := src.credentials(obj)
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
	verified, err := src.verify(ctx, obj, repo, fetched)
	if err != nil {
		return err
	}
	if err := src.checkHistory(obj, repo, fetched); err != nil {
		return err
	}
	form, err := src.shape(obj)
	if err != nil {
		return err
	}
	if _, err := (head{Head: fetched, repo: repo, form: form}).tree(src.s.ignoreOf(src.key)); err != nil {
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
func (src *source) blame(obj *sourcev1.GitRepository, err error) string {
	dial, ok := errors.AsType[*net.OpError](err)
	if ok && dial.Op == "dial" && obj.Spec.ProxySecretRef == nil && obj.GetProvider() == sourcev1.GitProviderGeneric {
		return src.host(obj)
	}
	return src.name()
}
