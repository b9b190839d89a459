package syncer_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load/kustomize"
	"headway.dev/syncer"
	"headway.dev/syncer/rights"
)

// Who is changed while the group runs is applied as it is then; who is suspended
// meanwhile is not.
func TestEditedWhileTogether(t *testing.T) {
	files := two()
	files["cluster/one.yaml"] = nested("one", "./one", "  postBuild: {substitute: {other: x}}\n")
	files["one/a.yaml"] = configMap("a", "${v:=old}")
	w, o := monoObserved(t, files, nil)
	w.allApplied(git(t, w.work, "rev-parse", "HEAD"), "cluster", "one", "two")
	edit := func(name string, edit func(*kustomizev1.Kustomization)) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.before = func(ctx context.Context) error {
			_, err := o.Store.Commit(ctx, change.Tx{Changes: []change.Change{change.Patch(key("Kustomization", "headway-system", name), func(obj object.Object) bool {
				ks, ok := obj.(*kustomizev1.Kustomization)
				if ok {
					edit(ks)
				}
				return ok
			})}})
			return err
		}
	}
	seen := o.observe(data("root", "a", "b"))
	edit("one", func(ks *kustomizev1.Kustomization) { ks.Spec.PostBuild.Substitute["v"] = "hand" })
	files = twoChanged()
	files["one/a.yaml"] = configMap("a", "${v:=new}")
	w.write(files)
	second := w.push("one is edited meanwhile")
	w.allApplied(second, "cluster", "one", "two")
	byHand := "root new of cluster, a hand of one, b new of two"
	w.eventually("what was edited counts", func() bool { return data("root", "a", "b")(w.store) == byHand })
	wantStates(t, seen(), twoOld, byHand)

	edit("two", func(ks *kustomizev1.Kustomization) { ks.Spec.Suspend = true })
	w.write(map[string]string{"cluster/root.yaml": configMap("root", "newer"), "two/b.yaml": configMap("b", "newer")})
	third := w.push("two is suspended meanwhile")
	w.allApplied(third, "cluster", "one")
	wantStates(t, seen(), twoOld, byHand, "root newer of cluster, a hand of one, b new of two")
	if got := w.readyOf("two"); !strings.HasSuffix(got, second) {
		t.Errorf("Ready of what is suspended is %q", got)
	}
}

// Who is edited while its parent is planned anew, for another takes something
// over from that, is applied as it is then, in the same transaction.
func TestEditedWhileHandedOver(t *testing.T) {
	files := two()
	files["cluster/one.yaml"] = nested("one", "./one", "  postBuild: {substitute: {other: x}}\n")
	files["one/a.yaml"] = configMap("a", "${v:=old}")
	files["cluster/m.yaml"] = configMap("moves", "old")
	w, o := monoObserved(t, files, nil)
	w.allApplied(git(t, w.work, "rev-parse", "HEAD"), "cluster", "one", "two")
	look := data("root", "a", "b", "moves", "mark")
	seen := o.observe(look)
	var once sync.Once
	read := func(read object.Key) {
		if read != key("ConfigMap", "default", "mark") {
			return
		}
		once.Do(func() { // two is being planned, and cluster has been
			if _, err := o.Store.Commit(context.Background(), change.Tx{Changes: []change.Change{patched(substitutes("hand"))}}); err != nil {
				t.Error(err)
			}
		})
	}
	o.read.Store(&read)
	files = twoChanged()
	files["cluster/one.yaml"] = nested("one", "./one", "  postBuild: {substitute: {other: z}}\n")
	files["one/a.yaml"] = configMap("a", "${v:=new}")
	files["cluster/m.yaml"], files["two/m.yaml"], files["two/mark.yaml"] = "", configMap("moves", "new"), configMap("mark", "new")
	w.write(files)
	sha := w.push("something moves from cluster to two")
	w.allApplied(sha, "cluster", "one", "two")
	want := "root new of cluster, a hand of one, b new of two, moves new of two, mark new of two"
	w.eventually("what was edited counts", func() bool { return look(w.store) == want })
	wantStates(t, seen(), "root old of cluster, a old of one, b old of two, moves old of cluster, mark -", want)
}

// revoking are rights that change once somebody is asked about.
type revoking struct {
	*grantList
	mu     sync.Mutex
	asked  string
	revoke func()
}

// Allowed implements syncer.Access.
func (r *revoking) Allowed(ctx context.Context, user rights.User, verb string, key object.Key) error {
	r.mu.Lock()
	if r.revoke != nil && user.Name == r.asked {
		r.revoke()
		r.revoke = nil
	}
	r.mu.Unlock()
	return r.grantList.Allowed(ctx, user, verb, key)
}

// Who loses rights after it was planned, while others are, is left out.
func TestRightsRevokedWhileTogether(t *testing.T) {
	account := func(name string) string { return "system:serviceaccount:headway-system:" + name }
	var first, second []string
	for _, verb := range []string{"get", "patch", "create", "delete"} {
		first = append(first, account("first")+" "+verb+" default")
		second = append(second, account("second")+" "+verb+" default")
	}
	files := two()
	files["cluster/one.yaml"] = nested("one", "./one", "  serviceAccountName: first\n")
	files["cluster/two.yaml"] = nested("two", "./two", "  serviceAccountName: second\n")
	r := &revoking{grantList: &grantList{}, asked: account("second")}
	r.set(slices.Concat(first, second)...)
	w, o := monoObserved(t, files, func(c *syncer.Config) { c.Access = r })
	w.commit(w.account("first"))
	w.commit(w.account("second"))
	w.allApplied(git(t, w.work, "rev-parse", "HEAD"), "cluster", "one", "two")
	seen := o.observe(data("root", "a", "b"))
	r.mu.Lock()
	r.revoke = func() { r.set(second...) }
	r.mu.Unlock()
	w.write(twoChanged())
	w.allApplied(w.push("one loses its rights"), "cluster", "two")
	w.eventually("one is refused", func() bool { return strings.HasPrefix(w.readyOf("one"), "False ReconciliationFailed") })
	wantStates(t, seen(), twoOld, "root new of cluster, a old of one, b new of two")
}

// Who comes while the only one of a group is built for long does not wait for
// it.
func TestNewcomerWhileTogether(t *testing.T) {
	before := kustomize.Limit(kustomize.Budget{CPU: time.Hour, Memory: 4 << 30})
	t.Cleanup(func() { kustomize.Limit(before) })
	files := map[string]string{"cluster/root.yaml": configMap("root", "old"), "late/a.yaml": configMap("a", "new")}
	w, o := monoObserved(t, files, impatient)
	w.allApplied(git(t, w.work, "rev-parse", "HEAD"), "cluster")
	seen := o.observe(data("root", "a"))
	files = costly(t, "cluster/costly")
	files["cluster/root.yaml"], files["cluster/kustomization.yaml"] = configMap("root", "new"), "resources: [root.yaml, costly]\n"
	w.write(files)
	second := w.push("one that is slow")
	w.eventually("it is being built", func() bool { return building(t) > 0 })
	late := w.ks().DeepCopy()
	late.ObjectMeta = metav1.ObjectMeta{Namespace: "headway-system", Name: "late"}
	late.Spec.Path, late.Status = "late", kustomizev1.KustomizationStatus{}
	w.create(late)
	w.allApplied(second, "late")
	wantStates(t, seen(), "root old of cluster, a -", "root old of cluster, a new of late")
}

// A build in a group that a suspension ends is made anew after that.
func TestSuspendedWhileTogether(t *testing.T) {
	before := kustomize.Limit(kustomize.Budget{CPU: time.Hour, Memory: 4 << 30})
	t.Cleanup(func() { kustomize.Limit(before) })
	files := map[string]string{"cluster/root.yaml": configMap("root", "old")}
	w, o := monoObserved(t, files, impatient)
	w.allApplied(git(t, w.work, "rev-parse", "HEAD"), "cluster")
	seen := o.observe(func(object.Reader) string { return w.readyOf("cluster") })
	suspend := func(is bool) {
		w.commit(change.Patch(w.ksKey(), func(obj object.Object) bool {
			obj.(*kustomizev1.Kustomization).Spec.Suspend = is
			return true
		}))
	}
	files = costly(t, "cluster/costly")
	files["cluster/kustomization.yaml"] = "resources: [root.yaml, costly]\n"
	w.write(files)
	w.push("one that is slow")
	w.eventually("it is being built", func() bool { return building(t) > 0 })
	suspend(true)
	w.eventually("the build is ended", func() bool { return building(t) == 0 })
	suspend(false)
	w.eventually("it is built again", func() bool {
		return building(t) > 0 || !strings.HasPrefix(w.readyOf("cluster"), "True")
	})
	wantStates(t, seen(), seen()[0])
}

// A commit that freezes its own source is applied by who declares that; the
// others are frozen.
func TestSourceFrozenByItsOwnCommit(t *testing.T) {
	w, o := monoObserved(t, two(), nil)
	w.allApplied(git(t, w.work, "rev-parse", "HEAD"), "cluster", "one", "two")
	seen := o.observe(data("root", "a", "b"))
	files := twoChanged()
	files["cluster/source.yaml"] = "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\n" +
		"metadata: {name: cluster, namespace: headway-system, annotations: {headway.dev/freeze: \"* * * * * / 24h\"}}\n" +
		"spec: {interval: 1h, url: \"file://" + w.bare + "\", ref: {branch: main}}\n"
	w.write(files)
	w.allApplied(w.push("and a freeze"), "cluster")
	for _, name := range []string{"one", "two"} {
		w.eventually(name+" is frozen", func() bool {
			ks, ok := w.store.Get(key("Kustomization", "headway-system", name)).(*kustomizev1.Kustomization)
			return ok && apimeta.IsStatusConditionTrue(ks.Status.Conditions, "headway.dev/Frozen")
		})
	}
	wantStates(t, seen(), twoOld, "root new of cluster, a old of one, b old of two")
}
