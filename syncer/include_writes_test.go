package syncer_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/internal/gitserver"
)

// Writes by hand are reviewed with what the source includes: one of the source's
// own files is written as ever, and one of an included file is told where to go.
func TestWritesWhereOthersAreIncluded(t *testing.T) {
	root := t.TempDir()
	bare, work := filepath.Join(root, "lib.git"), filepath.Join(t.TempDir(), "lib")
	git(t, "", "init", "-q", "--bare", "-b", "main", bare)
	git(t, "", "clone", "-q", bare, work)
	lib := &world{t: t, work: work}
	lib.write(map[string]string{"deploy/lib.yaml": configMap("lib", "one")})
	lib.push("first")
	srv := gitserver.New(t, root)
	for _, mode := range []string{"reject", "commit"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, map[string]string{
				"kustomization.yaml": "resources: [app/a.yaml, vendor/lib/lib.yaml]\n", "app/a.yaml": configMap("a", "one"),
			}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
				src.Spec.Include = []sourcev1.GitRepositoryInclude{{GitRepositoryRef: meta.LocalObjectReference{Name: "lib"}, FromPath: "./deploy", ToPath: "vendor/lib"}}
				ks.Annotations = map[string]string{flux.GitWrites: mode}
			})
			w.create(&sourcev1.GitRepository{
				ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: "lib"},
				Spec:       sourcev1.GitRepositorySpec{URL: srv.URL + "/lib.git", Interval: metav1.Duration{Duration: time.Hour}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"}},
			})
			w.applied(w.main())
			refused := func(name string, words ...string) {
				t.Helper()
				before := w.main()
				err := w.set(name, "two")
				if !apierrors.IsForbidden(err) {
					t.Errorf("a write of %s: %v, want it forbidden", name, err)
					return
				}
				for _, word := range words {
					if !strings.Contains(err.Error(), word) {
						t.Errorf("a write of %s: %v, want %q in it", name, err, word)
					}
				}
				if w.main() != before || w.configMap(name)["key"] != "one" {
					t.Errorf("after the refusal main is at %s, %s has %v", w.main(), name, w.configMap(name))
				}
			}
			refused("lib", "vendor/lib/lib.yaml", "included from the GitRepository headway-system/lib")
			if mode == "reject" {
				refused("a", "data.key is set by Git in app/a.yaml:7 (commit ")
				return
			}
			if err := w.set("a", "two"); err != nil {
				t.Fatal(err)
			}
			if got := w.configMap("a")["key"]; got != "two" {
				t.Errorf("a when the write was answered: %q", got)
			}
			if got := git(t, w.bare, "diff", "--name-only", "main~1", "main"); got != "app/a.yaml" {
				t.Errorf("the commit changes %q", got)
			}
		})
	}
}
