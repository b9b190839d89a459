package syncer_test

import (
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/syncer"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/wire"
)

// Whoever may not see a source or a Kustomization does not learn from a
// rollback, sync or plan of it that it is there.
func TestHiddenSourcesAreNotFound(t *testing.T) {
	w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "one")}, nil, func(c *syncer.Config) { c.Access = viewer{} })
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}})
	ctx := rights.WithUser(t.Context(), rights.User{Name: "ci"})
	calls := map[string]func(name string) error{
		"rollback": func(name string) error {
			_, err := w.sync.Rollback(ctx, wire.RollbackRequest{Source: name})
			return err
		},
		"sync": func(name string) error {
			return w.sync.Sync(ctx, wire.SyncRequest{Source: name}, func(wire.Event) error { return nil })
		},
		"plan of a source": func(name string) error {
			_, err := w.sync.Plan(ctx, wire.PlanRequest{Source: name, Rev: "main"})
			return err
		},
		"plan of a Kustomization": func(name string) error {
			_, err := w.sync.Plan(ctx, wire.PlanRequest{Kustomization: name, Rev: "main"})
			return err
		},
	}
	answers := func() map[string]string {
		got := map[string]string{}
		for what, call := range calls {
			for _, name := range []string{"other/covert", "covert"} {
				err := call(name)
				if err == nil {
					t.Fatalf("%s of %s is allowed", what, name)
				}
				got[what+" "+name] = err.Error()
			}
		}
		return got
	}
	before := answers()
	meta := metav1.ObjectMeta{Namespace: "other", Name: "covert"}
	w.create(&sourcev1.GitRepository{ObjectMeta: meta, Spec: sourcev1.GitRepositorySpec{URL: "https://git.invalid/x.git", Suspend: true}})
	w.create(&kustomizev1.Kustomization{ObjectMeta: meta, Spec: kustomizev1.KustomizationSpec{
		Suspend: true, SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "covert"},
	}})
	w.eventually("the source is known", func() bool {
		_, err := w.sync.Rollback(t.Context(), wire.RollbackRequest{Source: "other/covert"})
		return err != nil && !strings.Contains(err.Error(), "not found")
	})
	for what, now := range answers() {
		if now != before[what] {
			t.Errorf("%s: %q where there is one, %q where there is none", what, now, before[what])
		}
	}
	if err := calls["plan of a source"]("cluster"); err != nil {
		t.Errorf("a plan of a source that is seen: %v", err)
	}
}
