package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/up"
	"headway.dev/cmd/headway/up/uptest"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/wire"
)

// A commit that changes where a Kustomization reads, and is broken there, takes nothing
// away of what was applied before, although the next start reads the new spec.
func TestRestartWithABrokenCommit(t *testing.T) {
	child := func(path, prefix string) string {
		return "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: shop, namespace: headway-system}\n" +
			"spec:\n  interval: 1h\n  prune: true\n  sourceRef: {kind: GitRepository, name: cluster}\n  path: " + path + "\n  namePrefix: " + prefix + "\n"
	}
	cm := func(name string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: default}\ndata: {k: v}\n"
	}
	// Below a kustomization of its own, so that it is not part of the root.
	repo := headwaytest.NewRepository(t, map[string]string{
		"kustomization.yaml": "resources: [shop.yaml]\n", "shop.yaml": child("./old", "a-"), "old/web.yaml": cm("web"), "old/extra.yaml": cm("extra"), "new/api.yaml": cm("api"),
	})
	dir := filepath.Join(t.TempDir(), "data")
	configMapKind := schema.GroupKind{Kind: "ConfigMap"}
	configMap := func(s *uptest.Server, name string) object.Object {
		return s.Engine.Store().Get(object.Key{GroupKind: configMapKind, Namespace: "default", Name: name})
	}
	refused := func(t *testing.T, s *uptest.Server, attempt string) {
		t.Helper()
		shop := object.Key{GroupKind: flux.Kustomization, Namespace: wire.SystemNamespace, Name: "shop"}
		headwaytest.Eventually(t, "the commit is refused", func() bool {
			ks, ok := s.Engine.Store().Get(shop).(*kustomizev1.Kustomization)
			if !ok {
				return false
			}
			ready := apimeta.FindStatusCondition(ks.Status.Conditions, "Ready")
			return ready != nil && ready.Reason == "BuildFailed" && strings.Contains(ready.Message, attempt)
		}, s.Log.String)
	}
	var uid string
	t.Run("the first start", func(t *testing.T) {
		s := uptest.Start(t, repo.Bare, uptest.Options{Flags: func(o *up.Options) { o.DataDir = dir }})
		headwaytest.Eventually(t, "the first commit is applied", func() bool { return configMap(s, "a-web") != nil }, s.Log.String)
		uid = string(configMap(s, "a-web").GetUID())
		repo.Push("main", map[string]string{"shop.yaml": child("./new", "b-"), "new/broken.yaml": "a: [\n"})
		refused(t, s, "broken.yaml")
	})
	t.Run("the second start", func(t *testing.T) {
		// A commit that is new tells when the start is over.
		repo.Push("main", map[string]string{"new/broken.yaml": "", "new/worse.yaml": "c: [\n"})
		s := uptest.Start(t, repo.Bare, uptest.Options{Flags: func(o *up.Options) { o.DataDir = dir }})
		refused(t, s, "worse.yaml")
		extra := configMap(s, "a-extra")
		if extra == nil {
			t.Fatal("a-extra was deleted")
		}
		key := object.KeyOf(configMapKind, extra)
		if _, err := s.Engine.Store().Commit(t.Context(), change.Tx{Changes: []change.Change{change.Delete(key, metav1.DeleteOptions{}, time.Now())}}); err != nil {
			t.Fatal(err)
		}
		headwaytest.Eventually(t, "what was applied is put back", func() bool {
			again := configMap(s, "a-extra")
			return again != nil && again.GetUID() != extra.GetUID()
		}, s.Log.String)
		web := configMap(s, "a-web")
		if web == nil || string(web.GetUID()) != uid || configMap(s, "b-api") != nil || configMap(s, "b-web") != nil {
			t.Errorf("a-web is %v, b-api %v", web, configMap(s, "b-api"))
		}
		repo.Push("main", map[string]string{"new/worse.yaml": ""})
		headwaytest.Eventually(t, "the new spec is applied", func() bool { return configMap(s, "b-api") != nil && configMap(s, "a-web") == nil }, s.Log.String)
	})
}
