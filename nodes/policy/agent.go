package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/nodepolicy"
	"headway.dev/nodes/network"
)

const (
	// silence is how long a server that is there tells nothing: it says so every 20 s.
	silence = time.Minute
	// retryMin and retryMax are around the wait before the server is asked anew.
	retryMin, retryMax = 200 * time.Millisecond, 10 * time.Second
	// verifyPeriod is how often it is looked whether the rules are still there.
	verifyPeriod = 30 * time.Second
	// reopenMin and reopenMax are around the wait before rules that the kernel refused
	// are written again.
	reopenMin, reopenMax = 30 * time.Second, 10 * time.Minute
)

// Config of an Agent. All is required.
type Config struct {
	NodeName string
	// Client reaches the API as the node.
	Client rest.Interface
	// Attached are the pods of the node that have an address.
	Attached func() []network.Attachment
	// Dual says that pods have IPv6 addresses, too.
	Dual bool
	// Warn tells the person who started the program something.
	Warn func(format string, args ...any)
	Log  *slog.Logger
}

// Agent keeps the rules of a node what the server says, and knows which pods they are
// in force for.
type Agent struct {
	cfg Config

	mu    sync.Mutex
	rules *Rules // nil without nft: missing says why
	// missing is why no policy can be kept to.
	missing error
	state   nodepolicy.State // what was told, for who has no rules
	synced  bool             // the server has told everything once
	// unserved is set if the server is one of the time before policies.
	unserved bool
	// refusal is that of the server, if it does not want to tell.
	refusal error
	// failed is why the rules are not those of the state, and unbound why pods are not
	// bound to their addresses: then a pod may send by that of the node, which passes.
	failed, unbound error
	// shut are the profiles that let nothing pass, as they were told of; those that the
	// kernel refused are tried again at reopen, and then after wait.
	shut   map[string]error
	reopen time.Time
	wait   time.Duration
	// moved is closed when the rules or the state changed.
	moved chan struct{}
}

// New makes an Agent, which changes nothing before Run.
func New(cfg Config) *Agent {
	a := &Agent{cfg: cfg, moved: make(chan struct{})}
	a.rules, a.missing = NewRules(cfg.Dual)
	return a
}

// Run follows the server until ctx ends. The rules stay.
func (a *Agent) Run(ctx context.Context) error {
	if a.missing != nil {
		a.cfg.Warn("warning: NetworkPolicies are not kept to on this node, and pods that they isolate do not start: %v", a.missing)
		a.cfg.Log.Warn("NetworkPolicies are not kept to: pods that they isolate do not start", "error", a.missing)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if a.missing == nil {
		wg.Go(func() {
			_ = guard.Loop(ctx, "rules of NetworkPolicies", func(ctx context.Context) error { a.verify(ctx); return nil }) // it has no error
		})
	}
	for wait := retryMin; ; {
		began := time.Now()
		err := a.follow(ctx)
		if ctx.Err() != nil {
			return nil // it has ended as it should
		}
		if time.Since(began) > silence {
			wait = retryMin
		}
		a.refused(err)
		if apierrors.IsForbidden(err) {
			a.cfg.Log.Warn("the server refuses to tell this node of its policies: those that it told stay in force, and no other pods start", "error", err, "again", wait)
		} else {
			a.cfg.Log.Info("the server does not tell of policies; those that it told stay in force", "error", err, "again", wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, retryMax)
	}
}

// refused notes whether the server is one of the time before policies, which does not
// know what it is asked for. One that has told of policies before is none, whatever it
// or somebody between says.
func (a *Agent) refused(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	unserved := apierrors.IsNotFound(err) && !a.synced
	if unserved && !a.unserved {
		a.cfg.Warn("warning: the server has no NetworkPolicies for this node: pods start without")
		a.cfg.Log.Warn("the server has no NetworkPolicies for this node: pods start without", "error", err)
	}
	a.unserved = unserved
	a.refusal = nil
	if apierrors.IsForbidden(err) {
		a.refusal = err
	}
	a.wake()
}

// follow asks the server, and carries out what it tells until it no longer does.
func (a *Agent) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() {
		guard.Do(ctx, "wait for the server", func() { cancel(errors.New("the server is silent")) })
	})
	defer quiet.Stop()
	stream, err := a.cfg.Client.Get().AbsPath(nodepolicy.Path(a.cfg.NodeName)).Param("watch", "true").SetHeader("Accept", "application/json").Stream(ctx)
	if err != nil {
		return fmt.Errorf("ask for the policies of the node: %w", err)
	}
	defer stream.Close()
	in := json.NewDecoder(stream)
	for {
		var c nodepolicy.Change
		if err := in.Decode(&c); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return errors.Join(context.Cause(ctx), fmt.Errorf("read the policies of the node: %w", err))
		}
		quiet.Reset(silence)
		if c.Empty() {
			a.retry(ctx)
			continue
		}
		a.take(ctx, &c)
	}
}

// take carries out a change.
func (a *Agent) take(ctx context.Context, c *nodepolicy.Change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.synced, a.unserved, a.refusal = true, false, nil
	if a.rules == nil {
		a.state.Apply(c)
	} else {
		a.rules.Take(c)
		a.rules.Attach(a.cfg.Attached())
		a.write(ctx)
	}
	a.wake()
}

// write writes the rules; mu is held.
func (a *Agent) write(ctx context.Context) {
	if !a.synced {
		return // what a former agent has written is in force
	}
	if a.unbound, a.failed = a.rules.Write(ctx); ctx.Err() != nil {
		return
	}
	if a.failed != nil {
		a.cfg.Log.Warn("the rules of NetworkPolicies are not up to date", "error", a.failed)
	}
	if a.unbound != nil {
		a.cfg.Log.Warn("pods may send by the addresses of others, which NetworkPolicies depend on", "error", a.unbound)
	}
	a.tellShut()
}

// tellShut tells of profiles that let nothing pass since the last write; mu is held.
func (a *Agent) tellShut() {
	shut := a.rules.Shut()
	for id, why := range shut {
		if before := a.shut[id]; before != nil && before.Error() == why.Error() {
			continue
		}
		var pods []string
		for uid, p := range a.rules.state.Pods {
			if p.Ingress == id || p.Egress == id {
				pods = append(pods, string(uid))
			}
		}
		slices.Sort(pods)
		count := len(pods)
		pods = pods[:min(count, 10)]
		a.cfg.Warn("warning: nothing passes to or from %d pods that NetworkPolicies isolate, and new ones do not start: %v", count, why)
		a.cfg.Log.Warn("NetworkPolicies let nothing pass, because they cannot be written", "error", why, "pods", count, "uids", pods)
	}
	for id := range a.shut {
		if shut[id] == nil {
			a.cfg.Log.Info("NetworkPolicies that could not be written are in force", "profile", id)
		}
	}
	a.shut = shut
	switch {
	case len(a.rules.meant) == 0:
		a.wait = 0
	case a.wait == 0:
		a.wait = reopenMin
		a.reopen = time.Now().Add(a.wait)
	}
}

func (a *Agent) wake() {
	close(a.moved)
	a.moved = make(chan struct{})
}

// retry writes again what could not be written.
func (a *Agent) retry(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rules != nil && (a.failed != nil || a.unbound != nil) {
		a.write(ctx)
		a.wake()
	}
}

// verify puts back rules that another program took away.
func (a *Agent) verify(ctx context.Context) {
	tick := time.NewTicker(verifyPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a.look(ctx)
	}
}

func (a *Agent) look(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.synced {
		return
	}
	if a.wait > 0 && time.Now().After(a.reopen) {
		a.wait = min(2*a.wait, reopenMax)
		a.reopen = time.Now().Add(a.wait)
		a.rules.Reopen()
		a.write(ctx)
		a.wake()
	}
	missing, err := a.rules.Verify(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		a.cfg.Log.Warn("cannot look whether the rules of NetworkPolicies are there", "error", err)
	case missing || a.failed != nil || a.unbound != nil:
		a.cfg.Log.Info("writing the rules of NetworkPolicies again")
		a.write(ctx)
		a.wake()
	}
}
