package syncer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/api"
	"headway.dev/syncer/apply"
	"headway.dev/syncer/editors"
	"headway.dev/syncer/env"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/foresee"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/signature"
	"headway.dev/syncer/history"
	"headway.dev/syncer/journal"
	"headway.dev/syncer/judge"
	"headway.dev/syncer/neighbours"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/passage"
	"headway.dev/syncer/preview"
	"headway.dev/syncer/preview/rollout"
	"headway.dev/syncer/report"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/rollback"
	"headway.dev/syncer/source"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/why"
	"headway.dev/syncer/wire"
	"headway.dev/syncer/writeback"
)

// Config is what a Syncer works with. Store and DataDir are required.
type Config struct {
	Store env.Store
	// Kinds are those of the store; nil are Headway's own.
	Kinds *scheme.Registry
	// Convert asks the webhooks that convert custom resources; nil asks none.
	Convert custom.Converter
	// DataDir keeps the mirrors of remote repositories.
	DataDir string
	Log     *slog.Logger
	// Now is the clock (default time.Now).
	Now func() time.Time
	// Local allows sources to be repositories on this machine, as given on the
	// command line: the path by namespace/name of the GitRepository. All other
	// sources need an http, https or ssh URL.
	Local map[string]string
	// Identity is the committer of reverts.
	Identity git.Identity
	// SigningKey signs the commits that are written; nil leaves them unsigned.
	SigningKey *signature.SigningKey
	Events     env.Events
	// Access authorizes what a Kustomization with a serviceAccountName writes;
	// without it such a one is refused.
	Access rights.Access
	// DefaultServiceAccount is the account that a Kustomization without
	// spec.serviceAccountName acts as, in its own namespace, as in Flux; empty:
	// as the cluster itself. The Kustomization headway-system/cluster of the
	// command line is excepted.
	DefaultServiceAccount string
	// NoCrossNamespaceRefs refuses sources of other namespaces, as in Flux.
	NoCrossNamespaceRefs bool
	// JournalEntries is how many entries of the journal are kept, or a tenth
	// more; 0 is all.
	JournalEntries int
	// GitLimits bound what is fetched of remote repositories.
	GitLimits git.MirrorOptions
	// Settle is how long a container without a readiness probe has to run before
	// it counts as healthy, where neither minReadySeconds nor the annotation
	// headway.dev/settle says so (default DefaultSettle, negative: not at all).
	Settle time.Duration
	// Logs reads the logs of crashed containers; nil: they are not reported.
	Logs judge.Logs
	// Simulate tells where the pods of plans would run, if known.
	Simulate rollout.Simulator
	// Place returns what asks the scheduler about pods as things stand, if known.
	Place func() func(*corev1.Pod) why.Placing
	// Schedulers are the values of spec.schedulerName that the scheduler serves; nil:
	// the default one.
	Schedulers []string
	// PlanTimeout bounds the time for one plan (default 2 minutes).
	PlanTimeout time.Duration
	// PlanBytes bounds the values in the answer of one plan or diff, and as much
	// again the names of its objects, and its faults (default 16 MiB). PlansOfUser
	// is how many of them one user may have made at once (default 4).
	PlanBytes, PlansOfUser int
	// Foresee tells what would come of storing an object, in a state of the
	// cluster: why it would be refused, or what is to be said of it.
	Foresee foresee.Func
	// Patience is for how long the webhooks of admission are waited for, in all, when one
	// Kustomization is stored, if its spec.timeout is not shorter; a quarter of that for
	// a plan (default 2 minutes).
	Patience time.Duration
	// Together is for how long the Kustomizations of a source wait for the builds of each
	// other, in all, to be applied in one transaction; a fifth of that without any build
	// that ends, and a tenth for one that is busy (default 10 seconds).
	Together time.Duration
	// Progress is called with every step of every source, in order, and must
	// return quickly.
	Progress func(wire.Event)
}

// defaultPatience is longer than webhooks that are well take for a large commit.
const defaultPatience = 2 * time.Minute

// defaultTogether is longer than builds take that need no more than usual.
const defaultTogether = 10 * time.Second

// Syncer makes the cluster follow Git. Create one with New.
type Syncer struct {
	env        *env.Env
	rights     rights.Rights
	cfg        Config
	journal    *journal.Journal
	statuses   *report.Statuses
	sources    *source.Set
	editors    *editors.Editors
	owners     *owners.Index
	history    *history.History
	neighbours *neighbours.Finder
	rollbacks  *rollback.Rollbacks
	gates      *passage.Gates
	previews   *preview.Previewer
	writes     *writeback.Writeback
	api        *api.API
	loops      *apply.Set
	// start runs a loop, while Run does.
	start func(func(context.Context))
}

// New returns a Syncer; nothing happens before Run.
func New(cfg Config) *Syncer {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	switch {
	case cfg.Settle == 0:
		cfg.Settle = verdict.DefaultSettle
	case cfg.Settle < 0:
		cfg.Settle = 0
	}
	if cfg.Identity.Name == "" {
		cfg.Identity = git.Identity{Name: "headway", Email: "headway@localhost"}
	}
	s := &Syncer{
		env:    &env.Env{Store: cfg.Store, Kinds: cfg.Kinds, Convert: cfg.Convert, Log: cfg.Log, Now: cfg.Now, Events: cfg.Events, Progress: cfg.Progress},
		rights: rights.New(cfg.Access, cfg.Store, cfg.DefaultServiceAccount, cfg.NoCrossNamespaceRefs),
		cfg:    cfg, journal: journal.New(cfg.Store, cfg.JournalEntries),
		loops: apply.New(),
	}
	s.journal.Kinds = cfg.Kinds
	s.editors = editors.New(s.env)
	s.sources = source.New(s.env, source.Options{
		DataDir: cfg.DataDir, Local: cfg.Local, Limits: cfg.GitLimits, Rights: s.rights,
		Apply: s.loops.Gather, OnHead: s.loops.WakeFollowers, Suspended: s.editors.UpdateSuspended,
	})
	s.owners = owners.New(s.env.Store)
	s.history = history.New(s.env, s.rights, s.sources, s.journal, s.owners, s.loops.Rendered)
	s.neighbours = &neighbours.Finder{Env: s.env, Rights: s.rights, Sources: s.sources, Renderer: s.loops.RendererFor}
	s.rollbacks = &rollback.Rollbacks{Env: s.env, Rights: s.rights, Sources: s.sources, Journal: s.journal, Identity: cfg.Identity, SigningKey: cfg.SigningKey}
	s.gates = &passage.Gates{Env: s.env, Sources: s.sources, Rollbacks: s.rollbacks}
	s.loops.Env, s.loops.Rights, s.loops.Journal, s.loops.Sources, s.loops.Editors, s.loops.Owners = s.env, s.rights, s.journal, s.sources, s.editors, s.owners
	s.loops.Neighbours, s.loops.Rollbacks, s.loops.Gates = s.neighbours, s.rollbacks, s.gates
	s.loops.Settle, s.loops.Logs, s.loops.Foresee, s.loops.Patience = cfg.Settle, cfg.Logs, cfg.Foresee, cmp.Or(cfg.Patience, defaultPatience)
	s.loops.Together = cmp.Or(cfg.Together, defaultTogether)
	s.previews = preview.New(preview.Config{
		Env: s.env, Rights: s.rights, Sources: s.sources, Owners: s.owners, History: s.history,
		Neighbours: s.neighbours, Gates: s.gates, Loops: s.loops,
		Restricted: cfg.Access != nil, Foresee: cfg.Foresee, Patience: cmp.Or(cfg.Patience, defaultPatience) / 4, Simulate: cfg.Simulate,
		Timeout: cfg.PlanTimeout, Bytes: cfg.PlanBytes, OfUser: cfg.PlansOfUser,
	})
	s.writes = writeback.New(writeback.Options{
		Env: s.env, Rights: s.rights, Sources: s.sources, Owners: s.owners, Journal: s.journal, Editors: s.editors, Loops: s.loops,
		Rendered: s.loops.Rendered, Committer: cfg.Identity, SigningKey: cfg.SigningKey,
	})
	s.api = api.New(api.Options{
		Env: s.env, Rights: s.rights, Sources: s.sources, Journal: s.journal, History: s.history, Loops: s.loops,
		Plan: s.previews.Plan, Diff: s.previews.Diff, Rollback: s.rollbacks.Rollback,
		Why: (&why.Finder{Env: s.env, Rights: s.rights, Owners: s.owners, History: s.history, Journal: s.journal, Place: cfg.Place, Schedulers: cfg.Schedulers}).Why,
	})
	s.statuses = report.New(s.env, cfg.GitLimits.Egress)
	s.env.Observe = s.statuses.Observe
	return s
}

// Run follows all sources until ctx ends, and returns when all loops have.
func (s *Syncer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	// Before the deferred Wait: the loops end with the context.
	defer wg.Wait()
	defer cancel()
	s.start = func(loop func(context.Context)) {
		wg.Go(func() {
			_ = guard.Loop(ctx, "loop of the syncer", func(ctx context.Context) error { // loops have no error
				defer fault.Discreetly()
				loop(ctx)
				return nil
			})
		})
	}
	s.loops.Start(s.start)
	s.sources.RemoveMirrors()
	s.statuses.Begin(ctx, s.cfg.DataDir, s.start)
	for missed := false; ; missed = true {
		err := s.follow(ctx, missed)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, object.ErrExpired) {
			return fmt.Errorf("follow the store: %w", err)
		}
	}
}

// follow starts the loops there should be, and wakes them by the changes in
// the store; missed says that there were changes before of which no event came.
func (s *Syncer) follow(ctx context.Context, missed bool) error {
	changed := s.env.Kinds.Changed()
	// From before the lists on, or a change between them and the watch is lost.
	watched := s.watchedKinds()
	watcher, err := s.env.Store.Watch(0, watched...)
	if err != nil {
		return err
	}
	for _, kind := range append(source.Kinds(), flux.Kustomization) {
		list, _ := s.env.Store.List(kind, "")
		for _, obj := range list {
			guard.Do(ctx, "look at an object", func() {
				defer fault.Discreetly()
				s.ensure(object.KeyOf(kind, obj))
			})
		}
	}
	if missed {
		s.lookAgain()
	}
	for {
		waiting := s.until(ctx, changed)
		if err := s.dispatchFrom(ctx, waiting, watcher); ctx.Err() != nil || waiting.Err() == nil {
			return err
		}
		changed = s.env.Kinds.Changed()
		before := watched
		watched = s.watchedKinds()
		if watcher, err = s.env.Store.Watch(watcher.Revision(), watched...); err != nil {
			return err
		}
		s.touchOthers(before, watched)
		// There are objects to apply that could not be, or will be none.
		s.loops.RetryFailed(false)
	}
}

// lookAgain has everything looked at of which it is not known any more what changed.
func (s *Syncer) lookAgain() {
	for _, src := range s.sources.All() {
		src.Wake() // also one whose object is gone, to end it
	}
	for _, key := range s.owners.Keys() {
		s.loops.Touch(key) // wakes who has it, also one that is gone
	}
	list, _ := s.env.Store.List(flux.Kustomization, "")
	for _, obj := range list {
		s.loops.Again(object.KeyOf(flux.Kustomization, obj))
	}
}

// touchOthers wakes who has applied objects of kinds that are watched only before, or
// only since: they may have changed unseen, as those do that go with their definition.
func (s *Syncer) touchOthers(before, watched []schema.GroupKind) {
	for _, key := range s.owners.Keys() {
		if slices.Contains(before, key.GroupKind) != slices.Contains(watched, key.GroupKind) {
			s.loops.Touch(key)
		}
	}
}

// dispatchFrom dispatches the events of a watch until waiting ends.
func (s *Syncer) dispatchFrom(ctx, waiting context.Context, watcher object.Watcher) error {
	for {
		events, err := watcher.Next(waiting)
		if err != nil {
			return err
		}
		for _, ev := range events {
			guard.Do(ctx, "look at the event of "+ev.Key.String(), func() {
				defer fault.Discreetly()
				s.dispatch(ev)
			})
		}
	}
}

// until returns a context that ends when the kinds have changed, and others have to be
// watched.
func (s *Syncer) until(ctx context.Context, changed <-chan struct{}) context.Context {
	if changed == nil {
		return ctx
	}
	waiting, cancel := context.WithCancel(ctx)
	s.start(func(ctx context.Context) {
		defer cancel()
		select {
		case <-changed:
		case <-ctx.Done():
		}
	})
	return waiting
}

// watchedKinds leaves out what changes all the time and is not kept in Git.
func (s *Syncer) watchedKinds() []schema.GroupKind {
	var kinds []schema.GroupKind
	for _, k := range s.env.Kinds.Kinds() {
		if !k.Volatile {
			kinds = append(kinds, k.GroupKind())
		}
	}
	return kinds
}

// ensure starts the loop of an object, or wakes the one that there is.
func (s *Syncer) ensure(key object.Key) {
	if key.GroupKind == flux.Kustomization {
		s.loops.Ensure(key)
		return
	}
	src, fresh := s.sources.Ensure(key)
	if !fresh {
		src.Wake()
		return
	}
	s.start(func(ctx context.Context) {
		src.Run(ctx)
		if ctx.Err() == nil {
			s.sources.RemoveMirror(s.sources.MirrorDir(key))
		}
		s.sources.Forget(key)
		// It may have been created again before it was forgotten.
		if ctx.Err() == nil && s.env.Store.Get(key) != nil {
			s.ensure(key)
		}
	})
}

// dispatch wakes the loops that an event concerns.
func (s *Syncer) dispatch(ev object.Event) {
	switch {
	case source.IsKind(ev.Key.GroupKind):
		if !statusOnly(ev) {
			s.ensureOrWake(ev)
			s.loops.WakeFollowers(ev.Key)
		}
	case ev.Key.GroupKind == flux.Kustomization:
		if !statusOnly(ev) {
			s.loops.Interrupt(ev)
			s.ensureOrWake(ev)
		}
		s.loops.WakeWaiting(ev.Key)
	case ev.Key.GroupKind == flux.Secret:
		s.sources.WakeUsers(ev.Key)
		s.loops.WakeReaders(ev.Key)
	case ev.Key.GroupKind == flux.ConfigMap:
		s.loops.WakeReaders(ev.Key)
	}
	if rights.Concerns(ev.Key) {
		s.loops.RetryFailed(true)
	}
	s.loops.Touch(ev.Key)
}

// ensureOrWake also wakes the loop of an object that is gone, to end it.
func (s *Syncer) ensureOrWake(ev object.Event) {
	if s.sources.Get(ev.Key) != nil || s.loops.Has(ev.Key) || ev.Type != object.Deleted {
		s.ensure(ev.Key)
	}
}

// statusOnly reports whether an event changed nothing that a user writes.
func statusOnly(ev object.Event) bool {
	if ev.Type != object.Modified || ev.Old == nil || ev.Object == nil {
		return false
	}
	a, b := ev.Old, ev.Object
	if a.GetGeneration() != b.GetGeneration() || (a.GetDeletionTimestamp() == nil) != (b.GetDeletionTimestamp() == nil) || len(a.GetAnnotations()) != len(b.GetAnnotations()) {
		return false
	}
	for k, v := range a.GetAnnotations() {
		if b.GetAnnotations()[k] != v {
			return false
		}
	}
	return true
}

// Review decides about a user's write through the API, see
// [writeback.Writeback.Review].
func (s *Syncer) Review(ctx context.Context, w change.Request) (change.Elsewhere, error) {
	return s.writes.Review(ctx, w)
}

// Handler serves the syncer's API, see [api.API.Handler].
func (s *Syncer) Handler() http.Handler { return s.api.Handler() }

// Sync fetches now, see [api.API.Sync].
func (s *Syncer) Sync(ctx context.Context, req wire.SyncRequest, step func(wire.Event) error) error {
	return s.api.Sync(ctx, req, step)
}

// Status is the state of all sources and what follows them.
func (s *Syncer) Status() wire.Status { return s.api.Status() }

// Log lists the commits that changed an object (or all of them, for the empty
// selector), newest first, with what came of each: those from before an entry's
// sequence number, if before is not negative.
func (s *Syncer) Log(kind, namespace, name string, before int64, limit int) ([]wire.LogEntry, error) {
	return s.journal.Log(kind, namespace, name, before, limit)
}

// VerifyJournal reads the whole journal and checks its chain of hashes: it
// returns how many entries are sound, and fails at the first that is not.
func (s *Syncer) VerifyJournal() (int, error) { return s.journal.Verify() }

// Rollback takes back a commit, or what was deployed last, by a commit on the
// source's branch.
func (s *Syncer) Rollback(ctx context.Context, req wire.RollbackRequest) (wire.RollbackResult, error) {
	return s.rollbacks.Rollback(ctx, req)
}

// Plan says what a revision or a set of files would change, and changes
// nothing.
func (s *Syncer) Plan(ctx context.Context, req wire.PlanRequest) (wire.Plans, error) {
	return s.previews.Plan(ctx, req)
}

// Diff says which objects and fields differ between two commits, as the
// Kustomizations of a source render them. It changes nothing.
func (s *Syncer) Diff(ctx context.Context, req wire.DiffRequest) (wire.Plans, error) {
	return s.previews.Diff(ctx, req)
}
