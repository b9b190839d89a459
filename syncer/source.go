package syncer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/change"
	"headway.dev/manifests/object"
	"headway.dev/syncer/git"
	"headway.dev/syncer/wire"
)

// Annotations of Headway.
const (
	// AcceptHistory on a GitRepository or Kustomization names the commit of a
	// rewritten branch that may be applied although it does not descend from
	// the one applied last.
	AcceptHistory = "headway.dev/accept-history"
	// MaxDeletes on a Kustomization bounds how many objects a commit deletes.
	MaxDeletes = "headway.dev/max-deletes"
	// OnFailure on a Kustomization says what follows a failed verdict.
	OnFailure = "headway.dev/on-failure"
)

const (
	defaultTimeout = 60 * time.Second
	minBackoff     = 750 * time.Millisecond
	maxBackoff     = 15 * time.Minute
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
	wake flag

	mu   sync.Mutex
	repo *git.Repository
	url  string
	head git.Head // zero until there is one
	auth *git.Auth
	next time.Time
	// rounds counts finished looks at the source, for those who wait for one.
	rounds int
	err    error
	watch  context.CancelFunc // ends the watch of a local repository
	reopen bool
}

func newSource(s *Syncer, key object.Key) *source {
	return &source{s: s, key: key, wake: newFlag()}
}

func (src *source) name() string { return src.key.Namespace + "/" + src.key.Name }

// run looks at the source whenever it is woken or due, until it is gone.
func (src *source) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer src.close()
	failures := 0
	for {
		obj, ok := src.s.cfg.Store.Get(src.key).(*sourcev1.GitRepository)
		if !ok || obj == nil {
			return
		}
		if obj.Spec.Suspend {
			src.done(nil, time.Time{})
			if !src.wake.sleep(ctx, 0) {
				return
			}
			continue
		}
		err := src.look(ctx, obj, &wg)
		if ctx.Err() != nil {
			return
		}
		delay := jitter(obj.Spec.Interval.Duration)
		if err != nil {
			failures++
			delay = src.s.hosts.failed(src.host(obj))
			if src.failedLocal() {
				delay = min(delay, localRetry)
			}
		} else {
			failures = 0
			src.s.hosts.succeeded(src.host(obj))
		}
		next := src.s.now().Add(delay)
		src.report(ctx, obj, err, failures, next)
		src.done(err, next)
		if !src.wake.sleep(ctx, delay) {
			return
		}
	}
}

// failedLocal makes a local repository that failed be opened anew.
func (src *source) failedLocal() bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	_, local := src.s.cfg.Local[src.name()]
	src.reopen = local
	return local
}

// done ends a round.
func (src *source) done(err error, next time.Time) {
	src.mu.Lock()
	src.rounds++
	src.err, src.next = err, next
	src.mu.Unlock()
	src.s.wakeFollowers(src.key)
	ev := wire.Event{Source: src.name(), Phase: "fetch"}
	head, _ := src.current()
	ev.Revision = head.revision()
	if err != nil {
		ev.Phase, ev.Message = "error", err.Error()
	} else if c, cerr := src.commit(head.Commit); cerr == nil {
		ev.Commit = c
	}
	src.s.emit(ev)
}

func (src *source) close() {
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.watch != nil {
		src.watch()
	}
	if src.repo != nil {
		if err := src.repo.Close(); err != nil {
			src.s.log.Warn("close repository", "source", src.name(), "err", err)
		}
	}
	src.repo, src.head = nil, git.Head{}
}

// head is a fetched state with its files.
type head struct {
	git.Head
	repo *git.Repository
}

func (h head) revision() string {
	if h.Commit == "" {
		return ""
	}
	return h.Revision()
}

// current is the accepted head, and the error of the last look.
func (src *source) current() (head, error) {
	src.mu.Lock()
	defer src.mu.Unlock()
	return head{Head: src.head, repo: src.repo}, src.err
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

// failure is an error with the condition's reason.
type failure struct {
	reason string
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(reason string, err error) error { return &failure{reason: reason, err: err} }

// look fetches, and accepts the new head unless history was rewritten.
func (src *source) look(ctx context.Context, obj *sourcev1.GitRepository, wg *sync.WaitGroup) error {
	if err := unsupportedSource(obj); err != nil {
		return fail(sourcev1.VerificationError, err)
	}
	repo, err := src.open(ctx, obj, wg)
	if err != nil {
		return fail(sourcev1.URLInvalidReason, err)
	}
	auth, err := src.secret(obj)
	if err != nil {
		return fail(sourcev1.AuthenticationFailedReason, err)
	}
	timeout := defaultTimeout
	if obj.Spec.Timeout != nil && obj.Spec.Timeout.Duration > 0 {
		timeout = obj.Spec.Timeout.Duration
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ref := git.Ref{}
	if r := obj.Spec.Reference; r != nil {
		ref = git.Ref{Branch: r.Branch, Tag: r.Tag, SemVer: r.SemVer, Name: r.Name, Commit: r.Commit}
	}
	fetched, err := repo.Fetch(ctx, ref, auth)
	if err != nil {
		return fail(sourcev1.GitOperationFailedReason, fmt.Errorf("failed to checkout and determine revision: %w", err))
	}
	if err := src.checkHistory(obj, repo, fetched); err != nil {
		return err
	}
	src.mu.Lock()
	src.head, src.auth = fetched, auth
	src.mu.Unlock()
	return nil
}

// unsupportedSource fails for what would be wrong to ignore.
func unsupportedSource(obj *sourcev1.GitRepository) error {
	var fields []string
	if obj.Spec.Verification != nil {
		fields = append(fields, "spec.verify")
	}
	if len(obj.Spec.Include) > 0 {
		fields = append(fields, "spec.include")
	}
	if obj.Spec.RecurseSubmodules {
		fields = append(fields, "spec.recurseSubmodules")
	}
	if obj.Spec.ProxySecretRef != nil {
		fields = append(fields, "spec.proxySecretRef")
	}
	if p := obj.Spec.Provider; p != "" && p != sourcev1.GitProviderGeneric {
		fields = append(fields, "spec.provider: "+p)
	}
	if len(fields) > 0 {
		return fmt.Errorf("not supported yet: %s", strings.Join(fields, ", "))
	}
	return nil
}

// open opens the repository, again if the URL changed or a local one failed:
// another may be in its place, which the old watch would not see.
func (src *source) open(ctx context.Context, obj *sourcev1.GitRepository, wg *sync.WaitGroup) (*git.Repository, error) {
	src.mu.Lock()
	repo, same, again := src.repo, src.url == obj.Spec.URL, src.reopen
	src.mu.Unlock()
	if repo != nil && same && !again {
		return repo, nil
	}
	path, local := src.s.cfg.Local[src.name()]
	var err error
	if local && strings.TrimPrefix(obj.Spec.URL, "file://") == path {
		repo, err = git.Open(path)
	} else {
		repo, err = openMirror(src.s.mirrorDir(src.key), obj.Spec.URL)
	}
	if err != nil {
		if !same {
			src.close() // of the old URL nothing may be applied any more
		}
		return nil, err
	}
	src.close()
	src.mu.Lock()
	src.repo, src.url, src.reopen = repo, obj.Spec.URL, false
	src.mu.Unlock()
	src.restore(obj, repo)
	if repo.Local() {
		watchCtx, cancel := context.WithCancel(ctx)
		ready := make(chan struct{})
		src.mu.Lock()
		src.watch = cancel
		src.mu.Unlock()
		wg.Go(func() { src.watchLocal(watchCtx, repo, ready) })
		// A push from now on is either seen by this look or reported.
		select {
		case <-ready:
		case <-ctx.Done():
		}
	}
	return repo, nil
}

// restore takes up the head that was accepted before a restart, so that drift
// is corrected even while Git is down or its history was rewritten.
func (src *source) restore(obj *sourcev1.GitRepository, repo *git.Repository) {
	if !sameSource(obj) {
		return
	}
	before, ok := git.ParseRevision(obj.Status.Artifact.Revision)
	if !ok {
		return
	}
	if _, err := repo.Commit(before.Commit); err != nil {
		return
	}
	src.mu.Lock()
	src.head = before
	src.mu.Unlock()
	src.s.wakeFollowers(src.key)
}

// artifactURL is the artifact's metadata that says what it was fetched from.
const artifactURL = "headway.dev/url"

// sameSource says whether the artifact in the status is of the URL that the
// spec has now.
func sameSource(obj *sourcev1.GitRepository) bool {
	return obj.Status.Artifact != nil && obj.Status.Artifact.Metadata[artifactURL] == redacted(obj.Spec.URL)
}

// redacted is a URL without its password.
func redacted(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "invalid"
	}
	return u.Redacted()
}

// openMirror opens the mirror of a URL, and starts it over if it was another
// URL's: objects of one source must never be offered to another's.
func openMirror(dir, remote string) (*git.Repository, error) {
	if err := git.CheckURL(remote); err != nil {
		return nil, err
	}
	mark, want := filepath.Join(dir, "headway-url"), redacted(remote)
	if have, err := os.ReadFile(mark); err != nil || string(have) != want {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("clear the mirror: %w", err)
		}
	}
	repo, err := git.Mirror(dir, remote, git.MirrorOptions{})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(mark, []byte(want), 0o600); err != nil {
		return nil, fmt.Errorf("mark the mirror: %w", err)
	}
	return repo, nil
}

// watchLocal wakes the source at each change of a local repository's
// references, by looking every half second where that cannot be watched.
func (src *source) watchLocal(ctx context.Context, repo *git.Repository, ready chan struct{}) {
	var once sync.Once
	isReady := func() { once.Do(func() { close(ready) }) }
	defer isReady()
	err := repo.Watch(ctx, isReady, src.wake.set)
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, git.ErrGone) {
		src.wake.set() // the look will fail, and say so
		return
	}
	src.s.log.Warn("cannot watch the repository, looking every 500ms instead", "source", src.name(), "err", err)
	isReady()
	t := time.NewTicker(500 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			src.wake.set()
		}
	}
}

func (src *source) secret(obj *sourcev1.GitRepository) (*git.Auth, error) {
	if obj.Spec.SecretRef == nil {
		return nil, nil
	}
	key := object.Key{GroupKind: schema.GroupKind{Kind: "Secret"}, Namespace: obj.Namespace, Name: obj.Spec.SecretRef.Name}
	secret, ok := src.s.cfg.Store.Get(key).(*corev1.Secret)
	if !ok {
		return nil, fmt.Errorf("failed to get secret '%s/%s': secrets %q not found", key.Namespace, key.Name, key.Name)
	}
	auth, err := git.AuthFromSecret(obj.Spec.URL, secret.Data)
	if err != nil {
		return nil, fmt.Errorf("failed to configure authentication options: %w", err)
	}
	return auth, nil
}

// checkHistory refuses a branch that does not descend from what was accepted
// before, until a user accepts that commit.
func (src *source) checkHistory(obj *sourcev1.GitRepository, repo *git.Repository, fetched git.Head) error {
	if !fetched.Branch || !sameSource(obj) {
		return nil
	}
	before, ok := git.ParseRevision(obj.Status.Artifact.Revision)
	if !ok || before.Name != fetched.Name || before.Commit == fetched.Commit {
		return nil
	}
	descends, err := repo.IsAncestor(before.Commit, fetched.Commit)
	if err != nil {
		return fail(sourcev1.GitOperationFailedReason, err)
	}
	if descends || src.accepted(obj, fetched.Commit) {
		return nil
	}
	return fail(historyRewritten, fmt.Errorf("branch %s was rewritten: %s does not descend from %s, which stays applied. "+
		"To follow the new history run: kubectl annotate --overwrite -n %s gitrepository/%s %s=%s",
		fetched.Name, fetched.Commit, before.Commit, src.key.Namespace, src.key.Name, AcceptHistory, fetched.Commit))
}

// accepted says whether an annotation accepts the commit.
func (src *source) accepted(obj *sourcev1.GitRepository, commit string) bool {
	matches := func(o object.Object) bool {
		v := o.GetAnnotations()[AcceptHistory]
		return len(v) >= 7 && strings.HasPrefix(commit, v)
	}
	if matches(obj) {
		return true
	}
	list, _ := src.s.cfg.Store.List(kustomizationKind, "")
	for _, o := range list {
		if ks, ok := o.(*kustomizev1.Kustomization); ok && sourceKey(ks) == src.key && matches(ks) {
			return true
		}
	}
	return false
}

func (src *source) host(obj *sourcev1.GitRepository) string {
	if u, err := url.Parse(obj.Spec.URL); err == nil && u.Host != "" {
		return u.Host
	}
	return src.name()
}

// report writes the source's status, if it changed.
func (src *source) report(ctx context.Context, obj *sourcev1.GitRepository, err error, failures int, next time.Time) {
	now := metav1.NewTime(src.s.now())
	head, _ := src.current()
	revision := head.revision()
	advanced := false
	edit := func(o object.Object) bool {
		g, ok := o.(*sourcev1.GitRepository)
		if !ok {
			return false
		}
		before := g.Status.DeepCopy()
		set := conditions{list: &g.Status.Conditions, generation: obj.Generation, now: now}
		g.Status.ObservedGeneration = obj.Generation
		g.Status.LastHandledReconcileAt = obj.Annotations[meta.ReconcileRequestAnnotation]
		if err == nil {
			advanced = !g.Status.Artifact.HasRevision(revision) || !sameSource(g)
			if advanced {
				g.Status.Artifact = &meta.Artifact{
					Revision: revision, Digest: "sha1:" + head.Commit, LastUpdateTime: now,
					Metadata: map[string]string{artifactURL: redacted(g.Spec.URL)},
					Path:     fmt.Sprintf("gitrepository/%s/%s/%s", g.Namespace, g.Name, head.Commit),
				}
			}
			msg := fmt.Sprintf("stored artifact for revision '%s'", revision)
			set.put(meta.ReadyCondition, metav1.ConditionTrue, meta.SucceededReason, msg)
			set.put(sourcev1.ArtifactInStorageCondition, metav1.ConditionTrue, meta.SucceededReason, msg)
			set.drop(sourcev1.FetchFailedCondition, meta.StalledCondition, meta.ReconcilingCondition)
		} else {
			reason, msg := sourcev1.GitOperationFailedReason, err.Error()
			if f := (*failure)(nil); errors.As(err, &f) {
				reason = f.reason
			}
			if reason == historyRewritten || reason == sourcev1.VerificationError {
				set.put(meta.StalledCondition, metav1.ConditionTrue, reason, msg)
				set.drop(meta.ReconcilingCondition)
			} else {
				since := now
				if c := set.get(sourcev1.FetchFailedCondition); c != nil && c.Status == metav1.ConditionTrue {
					since = c.LastTransitionTime
				}
				msg = fmt.Sprintf("%s; failing since %s, attempt %d, next try at %s; what is applied keeps running",
					msg, since.UTC().Format(time.RFC3339), failures, next.UTC().Format(time.RFC3339))
				set.put(meta.ReconcilingCondition, metav1.ConditionTrue, meta.ProgressingWithRetryReason, msg)
				set.drop(meta.StalledCondition)
			}
			set.put(sourcev1.FetchFailedCondition, metav1.ConditionTrue, reason, msg)
			set.put(meta.ReadyCondition, metav1.ConditionFalse, reason, msg)
		}
		return !equality.Semantic.DeepEqual(before, &g.Status)
	}
	tx := change.Tx{Durability: change.Wait, Changes: []change.Change{change.PatchStatus(src.key, edit)}}
	// The artifact's revision decides what counts as rewritten history, so it
	// is written durably; the words about a failure need not be.
	if err != nil {
		tx.Durability = change.Behind
	}
	if _, cerr := src.s.cfg.Store.Commit(ctx, tx); cerr != nil && ctx.Err() == nil {
		src.s.log.Error("write the status", "source", src.name(), "err", cerr)
	}
	switch {
	case err != nil:
		src.s.log.Warn("source failed", "source", src.name(), "err", err, "attempt", failures, "next", next)
		if failures == 1 {
			src.s.record(obj, corev1.EventTypeWarning, reasonOf(err, sourcev1.GitOperationFailedReason), err.Error())
		}
	case advanced:
		src.s.log.Info("fetched", "source", src.name(), "revision", revision)
		msg := fmt.Sprintf("stored artifact for revision '%s'", revision)
		if c, cerr := src.commit(head.Commit); cerr == nil {
			msg = fmt.Sprintf("stored artifact for commit '%s'", c.Subject)
		}
		src.s.record(obj, corev1.EventTypeNormal, "NewArtifact", msg)
	}
}

func reasonOf(err error, otherwise string) string {
	if f := (*failure)(nil); errors.As(err, &f) {
		return f.reason
	}
	return otherwise
}

// jitter spreads d by up to a twentieth either way.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		d = time.Minute
	}
	return d + time.Duration((rand.Float64()-0.5)*0.1*float64(d))
}

// hostBackoff keeps sources of one host that is down from asking it in turns.
type hostBackoff struct {
	mu       sync.Mutex
	failures map[string]int
}

// failed is how long to wait before the next try.
func (b *hostBackoff) failed(host string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures == nil {
		b.failures = map[string]int{}
	}
	n := b.failures[host]
	b.failures[host] = n + 1
	d := maxBackoff
	if n < 20 {
		d = min(maxBackoff, minBackoff<<n)
	}
	return jitter(d)
}

func (b *hostBackoff) succeeded(host string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.failures, host)
}
