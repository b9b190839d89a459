package syncer_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/wire"
)

// What asks for something to be done once stays in the cluster, whatever
// happens to other writes: it is no commit, is not refused, and no sync takes it
// away.
func TestRequestsAreNoCommits(t *testing.T) {
	for _, mode := range []string{"commit", "reject"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, map[string]string{"cluster/one.yaml": nested("one", "./one", ""), "one/a.yaml": configMap("a", "one")},
				onPath("cluster", func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
					ks.Annotations = map[string]string{flux.GitWrites: mode}
				}))
			w.eventually("one is ready", func() bool { return strings.HasPrefix(w.readyOf("one"), "True") })
			before := w.main()
			at := key("Kustomization", "headway-system", "one")
			for _, name := range flux.Requests() {
				old := w.store.Get(at)
				next, _ := old.DeepCopyObject().(object.Object)
				next.SetAnnotations(map[string]string{name: "2026-01-01T00:00:00Z"})
				elsewhere, err := w.sync.Review(t.Context(), change.Request{User: "ada", Manager: "kubectl-annotate", Old: old, Next: next})
				if err != nil || elsewhere != nil {
					t.Errorf("the write of %s is a commit: %v, error: %v", name, elsewhere != nil, err)
				}
			}
			if got := w.main(); got != before {
				t.Errorf("main is at %s, want %s as before", got, before)
			}
		})
	}
}

// A timeout of nothing is the default for all that is done with the remote.
func TestTimeoutOfZero(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		remote(t, &srv, nil)(src, ks)
		src.Spec.Interval = metav1.Duration{Duration: time.Hour}
		src.Spec.Timeout = &metav1.Duration{}
		writesCommit(src, ks)
	})
	w.applied(w.main())
	if err := w.set("a", "two"); err != nil {
		t.Fatalf("a write: %v", err)
	}
	if code, text := w.call("plan", wire.PlanRequest{Rev: w.main()}, nil); code != http.StatusOK {
		t.Errorf("a plan: %d %s", code, text)
	}
	var done wire.RollbackResult
	if code, text := w.call("rollback", wire.RollbackRequest{Commit: w.main()}, &done); code != http.StatusOK {
		t.Fatalf("a rollback: %d %s", code, text)
	}
	w.applied(done.Revert)
	if got := w.configMap("a")["key"]; got != "one" {
		t.Errorf("a after the rollback: %q, want one", got)
	}
}
