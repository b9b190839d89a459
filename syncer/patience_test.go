package syncer_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/env"
	"headway.dev/syncer/foresee"
	"headway.dev/syncer/wire"
)

// admitted is a store that asks about each object before it is stored.
type admitted struct {
	env.Store
	mu     sync.Mutex
	begged bool // it is not asked any more
}

// Commit implements env.Store.
func (a *admitted) Commit(ctx context.Context, tx change.Tx) ([]object.Object, error) {
	a.mu.Lock()
	free := a.begged
	a.mu.Unlock()
	for _, c := range tx.Changes {
		if c.Key.Kind == "ConfigMap" && !free {
			if err := change.PatienceIn(ctx).Ask(func() {}); err != nil {
				return nil, err
			}
		}
	}
	return a.Store.Commit(ctx, tx)
}

// However many objects a commit has, one turn waits for admission for a limited time: a
// plan tells of how many objects it then knows nothing, and a commit that takes longer
// when it is stored is refused with the reason, and tried again.
func TestTurnsWaitForAdmissionForALimitedTime(t *testing.T) {
	var mu sync.Mutex
	planned := 0
	var st *admitted
	w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "one"), "b.yaml": configMap("b", "one"), "c.yaml": configMap("c", "one")},
		func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
			ks.Spec.RetryInterval = &metav1.Duration{Duration: 50 * time.Millisecond}
		},
		func(cfg *syncer.Config) {
			st = &admitted{Store: cfg.Store}
			cfg.Store, cfg.Patience = st, 4 // the first answer takes as long
			cfg.Foresee = func(_ context.Context, a foresee.Ask) foresee.Answer {
				mu.Lock()
				defer mu.Unlock()
				planned++
				return foresee.Answer{Object: a.Object}
			}
		})
	const want = "False ReconciliationFailed admission was asked about "
	w.eventually("the commit is refused", func() bool {
		got := w.ready("Kustomization")
		return strings.HasPrefix(got, want) && strings.HasSuffix(got, "which took longer than the 4ns that there are for all; make that faster, or the commit smaller")
	})
	if w.configMap("a") != nil {
		t.Error("something of it is stored")
	}
	mu.Lock()
	planned = 0
	mu.Unlock()
	p := w.plan(wire.PlanRequest{})
	if len(p.Errors) > 0 {
		t.Errorf("the plan's errors are %+v", p.Errors)
	}
	check(t, p, wire.CheckWarning, "admission", "what it says of 2 objects is not known before it is applied: admission was asked about 1 objects, which took longer than the 1ns that there are for all")

	st.mu.Lock()
	st.begged = true
	st.mu.Unlock()
	w.applied(w.main())
}
