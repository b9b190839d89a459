package report

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/egress"
	"headway.dev/manifests/loop"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/forge"
	"headway.dev/syncer/git"
	"headway.dev/syncer/wire"
)

const (
	// maxPosts bounds the statuses of one source that wait for its forge.
	maxPosts = 200
	// maxTries bounds the attempts for one status.
	maxTries = 12
)

// backoff is how long to wait between the attempts.
var backoff = loop.Backoff{First: time.Second, Last: 5 * time.Minute}

// posting identifies a status at a forge: of one commit, for one
// Kustomization.
type posting struct{ kustomization, sha string }

// post is a status that is to be set.
type post struct {
	posting
	state forge.State
	words string
	tries int
}

// Statuses reports the outcome of commits to forges. Each source has its own
// backlog, whose goroutine lives while something waits: a forge that is down
// delays no sync and no other forge, and the length of a backlog is bounded.
type Statuses struct {
	env     *env.Env
	egress  *egress.Policy
	mu      sync.Mutex
	backlog map[object.Key]*backlog
	sent    *sent
	// start runs a loop, while there is who runs it.
	start func(func(context.Context))
}

type backlog struct {
	waiting []*post
	running bool
	warned  string
}

// New returns Statuses that report nothing before Run; deny are addresses of
// forges that must not be reached.
func New(e *env.Env, deny *egress.Policy) *Statuses {
	return &Statuses{env: e, egress: deny, backlog: map[object.Key]*backlog{}, sent: newSent(e.Store, e.Log)}
}

// Begin reads what was reported before, also from the file that an earlier
// version left in dataDir, and from now on runs loops by start.
func (t *Statuses) Begin(ctx context.Context, dataDir string, start func(func(context.Context))) {
	t.sent.load(ctx, dataDir)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.start = start
}

// appliedWords describe a commit whose verdict is good, in whichever way that
// was learnt.
const appliedWords = "applied and healthy"

// Observe queues what a step of progress means for commits' statuses.
func (t *Statuses) Observe(ev wire.Event) {
	key, ok := t.wanted(ev.Source)
	if !ok {
		return
	}
	head, ok := git.ParseRevision(ev.Revision)
	if !ok {
		return
	}
	if ev.Kustomization == "" {
		if ev.Phase == wire.PhaseFetch {
			t.fetched(key, ev.Revision, head.Commit)
		}
		return
	}
	p := &post{posting: posting{ev.Kustomization, head.Commit}}
	switch ev.Phase {
	case wire.PhaseCommit:
		p.state, p.words = forge.Running, fmt.Sprintf("applied, %s; waiting until all is healthy", wire.Plural(len(ev.Actions), "change"))
	case wire.PhaseVerdict:
		p.state, p.words = forge.Success, appliedWords
		if ev.Verdict == wire.VerdictFailed {
			p.state, p.words = forge.Failure, ev.Message
		}
	case wire.PhaseError:
		p.state, p.words = forge.Failure, "not applied: "+ev.Message
	default:
		return
	}
	t.queue(key, p)
}

// wanted reports whether the statuses of a source's commits are asked for.
func (t *Statuses) wanted(source string) (object.Key, bool) {
	key, ok := sourceKeyOf(source)
	if !ok {
		return key, false
	}
	obj, ok := t.env.Store.Get(key).(*sourcev1.GitRepository)
	return key, ok && flux.Of(obj).CommitStatus.Text != ""
}

// fetched queues that a commit is there, for each Kustomization that follows
// the source. If one has applied it, before a restart, its verdict is reported
// unless it was.
func (t *Statuses) fetched(source object.Key, revision, sha string) {
	for _, ks := range flux.Followers(t.env.Store, source) {
		p := &post{posting: posting{ks.Namespace + "/" + ks.Name, sha}, state: forge.Pending, words: "fetched, waiting to be applied"}
		switch {
		case ks.Spec.Suspend:
			continue
		case ks.Status.LastAppliedRevision == revision && flux.IsReady(ks):
			p.state, p.words = forge.Success, appliedWords
		case ks.Status.LastAppliedRevision == revision:
			continue
		}
		t.queue(source, p)
	}
}

// queue adds a status unless the forge has it, or something final. A status
// that waits for the same commit gives way; one of an older commit that has no
// end yet gets one.
func (t *Statuses) queue(source object.Key, p *post) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.backlog[source]
	if l == nil {
		l = &backlog{}
		t.backlog[source] = l
	}
	at := source.Namespace + "/" + source.Name + " " + p.kustomization
	last, known := t.sent.last(at)
	for _, w := range l.waiting {
		if w.kustomization == p.kustomization {
			last, known = sentStatus{SHA: w.sha, State: w.state}, true
		}
	}
	if known && last.SHA == p.sha && (last.State == p.state || !final(p.state) && (final(last.State) || p.state == forge.Pending)) {
		return
	}
	if known && last.SHA != p.sha && last.SHA == t.head(source) {
		return // it comes late: the newer commit has given the older one its end
	}
	if known && last.SHA != p.sha && !final(last.State) {
		l.add(&post{posting: posting{p.kustomization, last.SHA}, state: forge.Canceled, words: "superseded by " + p.sha})
	}
	l.add(p)
	if len(l.waiting) > maxPosts {
		t.env.Log.Warn("too many commit statuses wait for the forge: the oldest is dropped", "source", source.Namespace+"/"+source.Name)
		l.waiting = l.waiting[1:]
	}
	if !l.running && t.start != nil {
		l.running = true
		t.start(func(ctx context.Context) { t.run(ctx, source, l) })
	}
}

// head is the commit that a source brought last.
func (t *Statuses) head(source object.Key) string {
	obj, ok := t.env.Store.Get(source).(*sourcev1.GitRepository)
	if !ok || obj.Status.Artifact == nil {
		return ""
	}
	head, _ := git.ParseRevision(obj.Status.Artifact.Revision)
	return head.Commit
}

// add puts a status in the place of one about the same commit, or at the end.
func (l *backlog) add(p *post) {
	for i, w := range l.waiting {
		if w.posting == p.posting {
			l.waiting[i] = p
			return
		}
	}
	l.waiting = append(l.waiting, p)
}

func final(s forge.State) bool { return s != forge.Pending && s != forge.Running }

// run posts what waits in a backlog until nothing does.
func (t *Statuses) run(ctx context.Context, source object.Key, l *backlog) {
	for {
		t.mu.Lock()
		if len(l.waiting) == 0 || ctx.Err() != nil {
			l.running = false
			t.mu.Unlock()
			return
		}
		p := l.waiting[0]
		t.mu.Unlock()
		err := t.post(ctx, source, p)
		if err != nil && ctx.Err() != nil {
			continue
		}
		if err == nil && p.state != forge.Canceled {
			// The forge has it, even if this is the end: then it is to be known, too.
			_ = t.sent.remember(context.WithoutCancel(ctx), sentStatus{Of: source.Namespace + "/" + source.Name + " " + p.kustomization, SHA: p.sha, State: p.state})
		}
		p.tries++
		wait := t.remove(source, l, p, err)
		if wait > 0 && !loop.NewFlag().Sleep(ctx, wait) {
			continue
		}
	}
}

// remove takes a status off its backlog that was reported or cannot be, and
// otherwise returns how long to wait before the next try.
func (t *Statuses) remove(source object.Key, l *backlog, p *post, err error) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	refused, ok := errors.AsType[*forge.Error](err)
	if ok && refused.Temporary() && p.tries < maxTries {
		t.env.Log.Info("the forge takes no commit status, trying again", "source", source.Namespace+"/"+source.Name, "err", err, "attempt", p.tries)
		return env.Jitter(max(backoff.After(p.tries-1), refused.RetryAfter))
	}
	for i, w := range l.waiting {
		if w == p { // and nothing newer in its place
			l.waiting = append(l.waiting[:i:i], l.waiting[i+1:]...)
			break
		}
	}
	if err == nil {
		l.warned = ""
		return 0
	}
	t.env.Log.Warn("the forge takes no commit status", "source", source.Namespace+"/"+source.Name, "commit", p.sha, "err", err)
	if msg := err.Error(); msg != l.warned {
		l.warned = msg
		if obj := t.env.Store.Get(source); obj != nil {
			t.env.Record(obj, corev1.EventTypeWarning, "CommitStatusFailed", msg)
		}
	}
	return 0
}

// post sets one status. The configuration is read each time: it may have been
// mended meanwhile.
func (t *Statuses) post(ctx context.Context, source object.Key, p *post) error {
	obj, ok := t.env.Store.Get(source).(*sourcev1.GitRepository)
	if !ok {
		return nil
	}
	set := flux.Of(obj)
	if set.CommitStatus.Text == "" {
		return nil
	}
	cfg, err := forgeConfig(t.env.Store, obj, set)
	if err != nil {
		return err
	}
	cfg.Egress = t.egress
	client, err := forge.New(cfg)
	if err != nil {
		return fmt.Errorf("annotation %s: %w", set.CommitStatus.Name, err)
	}
	defer client.Close()
	return client.SetStatus(ctx, p.sha, forge.Status{
		State: p.state, Context: "headway/" + p.kustomization, Description: p.words, Link: set.StatusLink.Value,
	})
}

// forgeConfig reads the annotations and the Secret of a source's forge.
func forgeConfig(stored object.Reader, obj *sourcev1.GitRepository, set flux.Settings) (forge.Config, error) {
	cfg := forge.Config{Repository: obj.Spec.URL, Kind: set.CommitStatus.Value}
	if err := set.CommitStatus.Err(); err != nil {
		return cfg, err
	}
	annotation, name := set.ForgeSecret.Name, set.ForgeSecret.Value
	secret, ok := stored.Get(object.Key{GroupKind: flux.Secret, Namespace: obj.Namespace, Name: name}).(*corev1.Secret)
	switch {
	case name == "":
		return cfg, fmt.Errorf("annotation %s is missing: name the Secret with the forge's token", annotation)
	case !ok:
		return cfg, fmt.Errorf("annotation %s: secrets %q not found", annotation, name)
	case len(secret.Data["token"]) == 0:
		return cfg, fmt.Errorf("annotation %s: the Secret %s has no key token", annotation, name)
	}
	cfg.Token, cfg.Address, cfg.CA = trimmed(secret.Data["token"]), trimmed(secret.Data["address"]), secret.Data["caFile"]
	return cfg, nil
}
