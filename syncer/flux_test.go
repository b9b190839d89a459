package syncer_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/wire"
)

// A suspended Kustomization that is deleted leaves its objects alone, which
// is Flux's way to take objects out of its hands.
func TestDeleteWhileSuspended(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.commit(change.Patch(w.ksKey(), func(o object.Object) bool {
		o.(*kustomizev1.Kustomization).Spec.Suspend = true
		return true
	}))
	w.commit(change.Delete(w.ksKey(), metav1.DeleteOptions{}, time.Now()))
	w.eventually("the Kustomization is gone", func() bool { return w.store.Get(w.ksKey()) == nil })
	if w.configMap("a") == nil {
		t.Error("a was deleted with a suspended Kustomization")
	}
}

// deletionPolicy: WaitForTermination keeps the Kustomization until what it
// applied is really gone.
func TestWaitForTermination(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one"), "b.yaml": configMap("b", "one")}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Spec.DeletionPolicy = kustomizev1.DeletionPolicyWaitForTermination
	})
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	a := key("ConfigMap", "default", "a")
	hold := func(finalizers ...string) change.Change {
		return change.Patch(a, func(o object.Object) bool {
			o.SetFinalizers(finalizers)
			return true
		})
	}
	w.commit(hold("example.com/hold"))
	w.commit(change.Delete(w.ksKey(), metav1.DeleteOptions{}, time.Now()))
	w.eventually("a is being deleted", func() bool { return w.store.Get(a).GetDeletionTimestamp() != nil })
	w.eventually("b, which nothing holds, is gone", func() bool { return w.configMap("b") == nil })
	// Its own events make the loop look again. Nothing tells of a look that leaves
	// all as it is, so each is given one after which it was asked for another.
	for i := range 3 {
		w.commit(change.Patch(a, func(o object.Object) bool {
			o.SetLabels(map[string]string{"look": strconv.Itoa(i)})
			return true
		}))
		w.eventually("the syncer has seen it", w.store.Handled)
	}
	if w.store.Get(w.ksKey()) == nil {
		t.Error("the Kustomization went before what it applied")
	}
	w.commit(hold())
	w.eventually("the Kustomization is gone", func() bool { return w.store.Get(w.ksKey()) == nil })
}

// nested is a Kustomization of the cluster's source.
func nested(name, path, extra string) string {
	return "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: " + name + ", namespace: headway-system}\n" +
		"spec:\n  interval: 1h\n  prune: true\n  path: " + path + "\n  sourceRef: {kind: GitRepository, name: cluster}\n" + extra
}

func (w *world) readyOf(name string) string {
	ks, ok := w.store.Get(key("Kustomization", "headway-system", name)).(*kustomizev1.Kustomization)
	if !ok {
		return "gone"
	}
	c := apimeta.FindStatusCondition(ks.Status.Conditions, meta.ReadyCondition)
	if c == nil {
		return ""
	}
	return string(c.Status) + " " + c.Reason + " " + c.Message
}

// A commit reaches what depends on another Kustomization of the same source
// only after that one has applied it.
func TestDependencyAppliesFirst(t *testing.T) {
	w := newWorld(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""),
		"cluster/two.yaml": nested("two", "./two", "  dependsOn: [{name: one}]\n"),
		"one/a.yaml":       configMap("a", "one"),
		"two/b.yaml":       configMap("b", "one"),
	}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "cluster" })
	w.eventually("both are applied", func() bool { return w.configMap("a")["key"] == "one" && w.configMap("b")["key"] == "one" })

	suspend := func(yes bool) change.Change {
		return change.Patch(key("Kustomization", "headway-system", "one"), func(o object.Object) bool {
			o.(*kustomizev1.Kustomization).Spec.Suspend = yes
			o.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/reconcile": "disabled"})
			return true
		})
	}
	w.commit(suspend(true))
	// It is ready for all that can be seen, and has yet to look.
	w.commit(change.PatchStatus(key("Kustomization", "headway-system", "one"), func(o object.Object) bool {
		o.(*kustomizev1.Kustomization).Status.ObservedGeneration = o.GetGeneration()
		return true
	}))
	w.write(map[string]string{"one/a.yaml": configMap("a", "two"), "two/b.yaml": configMap("b", "two")})
	w.push("change both")
	w.eventually("two waits for one", func() bool {
		return strings.Contains(w.readyOf("two"), "DependencyNotReady dependency 'headway-system/one' revision is not up to date")
	})
	if got := w.configMap("b")["key"]; got != "one" {
		t.Errorf("b = %q before what it depends on was applied", got)
	}
	w.commit(suspend(false))
	w.eventually("both follow", func() bool { return w.configMap("a")["key"] == "two" && w.configMap("b")["key"] == "two" })
}

// What would be wrong to ignore is refused, in the same words each time.
func TestUnsupportedFields(t *testing.T) {
	w := newWorld(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", "  kubeConfig: {secretRef: {name: x}}\n"),
		"one/a.yaml":       configMap("a", "one"),
	}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "cluster" })
	want := "False BuildFailed not supported yet: spec.kubeConfig"
	w.eventually(want, func() bool { return w.readyOf("one") == want })
}

// A change of the source's spec.ignore counts without a new commit.
func TestIgnoreChanges(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one"), "b.yaml": configMap("b", "one")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.commit(change.Patch(key("GitRepository", "headway-system", "cluster"), func(o object.Object) bool {
		ignore := "/b.yaml"
		o.(*sourcev1.GitRepository).Spec.Ignore = &ignore
		return true
	}))
	w.eventually("b is pruned", func() bool { return w.configMap("b") == nil })
	if w.configMap("a") == nil {
		t.Error("a was pruned, too")
	}
	// What is fetched is applied while the status is still written.
	w.eventually("status.observedIgnore is /b.yaml", func() bool {
		src, _ := w.store.Get(key("GitRepository", "headway-system", "cluster")).(*sourcev1.GitRepository)
		return src.Status.ObservedIgnore != nil && *src.Status.ObservedIgnore == "/b.yaml"
	})
}

// The mirror of a source that is deleted, or was while the syncer did not run,
// does not stay on the disk.
func TestMirrorGoesWithItsSource(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	url := gitserver.New(t, filepath.Dir(w.bare)).URL
	for _, name := range []string{"one", "two"} {
		w.create(&sourcev1.GitRepository{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec: sourcev1.GitRepositorySpec{
				URL: url + "/" + filepath.Base(w.bare), Interval: metav1.Duration{Duration: time.Hour}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
			},
		})
	}
	dir := func(name string) string { return filepath.Join(w.data, "git", "default", name) }
	there := func(name string) bool {
		_, err := os.Stat(dir(name))
		return err == nil
	}
	w.eventually("both are mirrored", func() bool { return there("one") && there("two") })
	w.commit(change.Delete(key("GitRepository", "default", "one"), metav1.DeleteOptions{}, time.Now()))
	w.eventually("the mirror of one is gone", func() bool { return !there("one") })
	w.stop()
	if !there("two") {
		t.Error("the mirror of two went although its source is there")
	}
	if _, err := w.store.Commit(context.Background(), change.Tx{Changes: []change.Change{change.Delete(key("GitRepository", "default", "two"), metav1.DeleteOptions{}, time.Now())}}); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.eventually("the mirror of two is gone", func() bool { return !there("two") })
}

// Who waits for a sync is told when a dependency failed, rather than left
// waiting for what depends on it.
func TestSyncEndsWhenDependencyFails(t *testing.T) {
	w := newWorld(t, map[string]string{
		"cluster/c.yaml": configMap("c", "one"),
		"one/a.yaml":     configMap("a", "one") + "unknown: 1\n",
		"two/b.yaml":     configMap("b", "one"),
	}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "cluster" })
	for _, k := range [][3]string{{"one", "./one", ""}, {"two", "./two", "one"}, {"three", "./two", "two"}} {
		ks := w.ks().DeepCopy()
		ks.ObjectMeta = metav1.ObjectMeta{Namespace: "headway-system", Name: k[0]}
		ks.Status = kustomizev1.KustomizationStatus{}
		ks.Spec.Path = k[1]
		if k[2] != "" {
			ks.Spec.DependsOn = []kustomizev1.DependencyReference{{Name: k[2]}}
		}
		w.create(ks)
	}
	w.eventually("one is refused", func() bool { return strings.HasPrefix(w.readyOf("one"), "False BuildFailed") })
	w.eventually("three waits", func() bool { return strings.Contains(w.readyOf("three"), "DependencyNotReady") })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last wire.Event
	err := w.sync.Sync(ctx, wire.SyncRequest{Wait: true}, func(ev wire.Event) error {
		last = ev
		return nil
	})
	if err != nil || !last.Done || last.OK {
		t.Errorf("Sync() = %v, last %+v, want it to end as failed", err, last)
	}
}
