package syncer_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"headway.dev/syncer"
	"headway.dev/syncer/foresee"
	"headway.dev/syncer/wire"
)

// mute is an admission that does not answer before it is no longer asked, while it is
// told to be mute.
type mute struct {
	mu    sync.Mutex
	asked chan struct{}
}

func (m *mute) become() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = make(chan struct{}, 1)
	return m.asked
}

func (m *mute) ask(ctx context.Context, a foresee.Ask) foresee.Answer {
	m.mu.Lock()
	asked := m.asked
	m.mu.Unlock()
	if asked == nil {
		return foresee.Answer{Object: a.Object}
	}
	select {
	case asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return foresee.Answer{Object: a.Object, Refused: ctx.Err()}
}

// What admission is asked about a plan ends with who asks for the plan, and what it is
// asked about a commit with the syncer: which refuses nothing for that.
func TestAdmissionIsAskedAsLongAsSomebodyWaits(t *testing.T) {
	hook := &mute{}
	w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "one")}, nil, func(cfg *syncer.Config) { cfg.Foresee = hook.ask })
	w.applied(w.main())
	w.branch("next", map[string]string{"a.yaml": configMap("a", "two"), "b.yaml": configMap("b", "one")})

	asked := hook.become()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		select {
		case <-asked:
		case <-time.After(time.Minute):
			t.Error("admission is not asked about the plan within a minute")
		}
		cancel()
	}()
	plans, err := w.sync.Plan(ctx, wire.PlanRequest{Rev: "next"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range plans.Errors {
		if e.File != "" {
			t.Errorf("a plan that nobody waits for blames %s: %s", e.File, e.Message)
		}
	}

	asked = hook.become()
	git(t, w.work, "merge", "-q", "--ff-only", "next")
	head := w.push("next")
	await(t, "admission is asked about the commit", asked)
	w.stop()
	if got := w.ready("Kustomization"); !strings.HasPrefix(got, "True") {
		t.Errorf("a syncer that ended leaves %s", got)
	}
	hook.mu.Lock()
	hook.asked = nil
	hook.mu.Unlock()
	w.start()
	w.applied(head)
}
