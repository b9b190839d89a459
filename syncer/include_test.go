package syncer_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/internal/gitserver"
)

// What a source includes of another comes with it, and again when the other
// one moves; what a sparse checkout leaves out does not.
func TestIncludeAndSparseCheckout(t *testing.T) {
	root := t.TempDir()
	bare, work := filepath.Join(root, "lib.git"), filepath.Join(t.TempDir(), "lib")
	git(t, "", "init", "-q", "--bare", "-b", "main", bare)
	git(t, "", "clone", "-q", bare, work)
	lib := &world{t: t, work: work}
	lib.write(map[string]string{"deploy/lib.yaml": configMap("lib", "one"), "not/this.yaml": configMap("not", "this")})
	lib.push("first")
	srv := gitserver.New(t, root)
	w := newWorld(t, map[string]string{
		"kustomization.yaml": "resources: [app/a.yaml, vendor/lib/lib.yaml]\n", "app/a.yaml": configMap("a", "one"), "other/b.yaml": configMap("b", "one"),
	}, func(src *sourcev1.GitRepository, _ *kustomizev1.Kustomization) {
		src.Spec.Include = []sourcev1.GitRepositoryInclude{{GitRepositoryRef: meta.LocalObjectReference{Name: "lib"}, FromPath: "./deploy", ToPath: "vendor/lib"}}
	})
	w.eventually("the missing source is told", func() bool {
		return strings.HasPrefix(w.sourceCondition(sourcev1.IncludeUnavailableCondition), "True NotFound could not get resource for include 'lib': ")
	})
	w.create(&sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: "lib"},
		Spec:       sourcev1.GitRepositorySpec{URL: srv.URL + "/lib.git", Interval: metav1.Duration{Duration: time.Hour}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"}},
	})
	first := git(t, w.work, "rev-parse", "HEAD")
	w.applied(first)
	if got := w.configMap("lib")["key"]; got != "one" {
		t.Errorf("lib.data.key = %q, want that of the included repository", got)
	}
	if w.configMap("not") != nil {
		t.Error("more than spec.include.fromPath was included")
	}
	if got := w.sourceCondition(sourcev1.IncludeUnavailableCondition); got != "none" {
		t.Errorf("IncludeUnavailable is %q", got)
	}

	lib.write(map[string]string{"deploy/lib.yaml": configMap("lib", "two")})
	second := lib.push("second")
	w.commit(change.Patch(key("GitRepository", "headway-system", "lib"), func(o object.Object) bool {
		o.SetAnnotations(map[string]string{meta.ReconcileRequestAnnotation: "now"})
		return true
	}))
	w.eventually("the included repository's change is applied", func() bool { return w.configMap("lib")["key"] == "two" })
	w.eventually("the status tells what is included", func() bool {
		src, ok := w.store.Get(key("GitRepository", "headway-system", "cluster")).(*sourcev1.GitRepository)
		return ok && len(src.Status.IncludedArtifacts) == 1 && src.Status.IncludedArtifacts[0].Revision == "main@sha1:"+second && len(src.Status.ObservedInclude) == 1
	})

	// The directory app alone, without a kustomization.
	w.editSource(func(src *sourcev1.GitRepository) {
		src.Spec.Include, src.Spec.SparseCheckout = nil, []string{"./app"}
	})
	w.eventually("what was cut off is pruned", func() bool { return w.configMap("lib") == nil && w.configMap("a")["key"] == "one" })
	if w.configMap("b") != nil {
		t.Error("b is there although it is not in a directory of spec.sparseCheckout")
	}
	w.editSource(func(src *sourcev1.GitRepository) { src.Spec.SparseCheckout = []string{"none"} })
	w.eventually("a directory that is not there is told", func() bool {
		return strings.Contains(w.ready("GitRepository"), "spec.sparseCheckout") && w.configMap("a") != nil
	})
}
