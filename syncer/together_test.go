package syncer_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load/kustomize"
	"headway.dev/syncer"
	"headway.dev/syncer/internal/memstore"
)

// observed is a store that looks at itself after every transaction, and may
// refuse objects as admission does.
type observed struct {
	*memstore.Store
	mu     sync.Mutex
	look   func(object.Reader) string
	seen   []string
	refuse string                           // the name of an object that must not be written
	before func(context.Context) error      // the next transaction that writes a ConfigMap, once
	read   atomic.Pointer[func(object.Key)] // is called before an object is read
}

func (o *observed) Get(key object.Key) object.Object {
	if read := o.read.Load(); read != nil {
		(*read)(key)
	}
	return o.Store.Get(key)
}

func (o *observed) Commit(ctx context.Context, tx change.Tx) ([]object.Object, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	writes := false
	for i, c := range tx.Changes {
		writes = writes || c.Key.Kind == "ConfigMap"
		if o.refuse != "" && c.Key.Name == o.refuse {
			tx.Changes[i].Mutate = func(object.Object) (object.Object, error) {
				return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, c.Key.Name, errors.New("it is refused"))
			}
		}
	}
	if o.before != nil && writes {
		before := o.before
		o.before = nil
		if err := before(ctx); err != nil {
			return nil, err
		}
	}
	states, err := o.Store.Commit(ctx, tx)
	if o.look != nil {
		if s := o.look(o.Store); len(o.seen) == 0 || o.seen[len(o.seen)-1] != s {
			o.seen = append(o.seen, s)
		}
	}
	return states, err
}

// observe has the store looked at from now on. The function returns what was
// seen of it, one state after the other.
func (o *observed) observe(look func(object.Reader) string) func() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.look, o.seen = look, []string{look(o.Store)}
	return func() []string {
		o.mu.Lock()
		defer o.mu.Unlock()
		return slices.Clone(o.seen)
	}
}

// monoObserved is mono on a store that is observed. However busy the machine is, the
// Kustomizations wait for each other.
func monoObserved(t *testing.T, files map[string]string, cfg func(*syncer.Config)) (*world, *observed) {
	t.Helper()
	o := &observed{}
	w := newWorldWith(t, files, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "cluster" }, func(c *syncer.Config) {
		if o.Store == nil {
			o.Store = c.Store.(*memstore.Store)
		}
		c.Store, c.Together = o, 5*time.Minute
		if cfg != nil {
			cfg(c)
		}
	})
	return w, o
}

// impatient Kustomizations wait for each other as long as they usually do.
func impatient(c *syncer.Config) { c.Together = 0 }

// data is what is stored of some ConfigMaps, with their owners.
func data(names ...string) func(object.Reader) string {
	return func(r object.Reader) string {
		var words []string
		for _, name := range names {
			cm, ok := r.Get(key("ConfigMap", "default", name)).(*corev1.ConfigMap)
			if !ok {
				words = append(words, name+" -")
				continue
			}
			words = append(words, fmt.Sprintf("%s %s of %s", name, cm.Data["key"], cm.Labels["kustomize.toolkit.fluxcd.io/name"]))
		}
		return strings.Join(words, ", ")
	}
}

// two are two Kustomizations that cluster declares, with a ConfigMap each.
func two() map[string]string {
	return map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""), "cluster/two.yaml": nested("two", "./two", ""),
		"cluster/root.yaml": configMap("root", "old"), "one/a.yaml": configMap("a", "old"), "two/b.yaml": configMap("b", "old"),
	}
}

const (
	twoOld = "root old of cluster, a old of one, b old of two"
	twoNew = "root new of cluster, a new of one, b new of two"
)

func twoChanged() map[string]string {
	return map[string]string{"cluster/root.yaml": configMap("root", "new"), "one/a.yaml": configMap("a", "new"), "two/b.yaml": configMap("b", "new")}
}

func wantStates(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the store was\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// allApplied waits until all Kustomizations have applied the commit.
func (w *world) allApplied(sha string, names ...string) {
	w.t.Helper()
	for _, name := range names {
		want := "True ReconciliationSucceeded Applied revision: main@sha1:" + sha
		w.eventually(name+": "+want, func() bool { return w.readyOf(name) == want })
	}
}

// A commit that changes a Kustomization's spec and its files, and what is of its
// parent and its sibling, adds a Kustomization and moves an object to another, is
// one transaction, from the first commit on.
func TestCommitIsOneTransaction(t *testing.T) {
	look := data("root", "a", "b", "moves", "c", "deep")
	files := two()
	files["one/m.yaml"] = configMap("moves", "old")
	o := &observed{look: look, seen: []string{"nothing"}}
	w := newWorldWith(t, files, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "cluster" }, func(c *syncer.Config) {
		o.Store = c.Store.(*memstore.Store)
		c.Store = o
	})
	w.allApplied(git(t, w.work, "rev-parse", "HEAD"), "cluster", "one", "two")
	first := "root old of cluster, a old of one, b old of two, moves old of one, c -, deep -"
	before := w.life("moves")

	w.write(map[string]string{
		"cluster/one.yaml": nested("one", "./one", "  postBuild: {substitute: {v: new}}\n"),
		"one/a.yaml":       configMap("a", "${v:=wrong}"),
		"one/m.yaml":       "",
		"two/m.yaml":       configMap("moves", "new"),
		"two/b.yaml":       configMap("b", "new"),

		"cluster/root.yaml":  configMap("root", "new"),
		"cluster/three.yaml": nested("three", "./three", ""),
		"three/c.yaml":       configMap("c", "new"),
		"three/four.yaml":    nested("four", "./four", ""),
		"four/deep.yaml":     configMap("deep", "new"),
	})
	w.allApplied(w.push("many things"), "cluster", "one", "two", "three", "four")
	second := "root new of cluster, a new of one, b new of two, moves new of two, c new of three, deep new of four"
	if w.life("moves") != before {
		t.Error("what moved was deleted on its way")
	}
	if w.has("one", "default_moves__ConfigMap") || !w.has("two", "default_moves__ConfigMap") {
		t.Error("the inventories do not say who has what moved")
	}

	w.write(map[string]string{"cluster/three.yaml": "", "one/a.yaml": configMap("a", "newer"), "two/b.yaml": configMap("b", "newer")})
	w.allApplied(w.push("without three"), "cluster", "one", "two")
	w.eventually("three and four are gone", func() bool { return w.readyOf("three") == "gone" && w.readyOf("four") == "gone" })
	o.mu.Lock()
	seen := o.seen
	o.mu.Unlock()
	third := "root new of cluster, a newer of one, b newer of two, moves new of two, "
	wantStates(t, seen[:min(len(seen), 4)], "nothing", strings.Replace(look(memstore.New()), "nothing", "", 1), first, second)
	if len(seen) < 5 || seen[4] != third+"c new of three, deep new of four" || seen[len(seen)-1] != third+"c -, deep -" {
		t.Errorf("after that it was %q", seen[min(4, len(seen)):])
	}
	if n, err := w.sync.VerifyJournal(); err != nil || n < 13 {
		t.Errorf("the journal has %d entries, %v", n, err)
	}
}

// What cannot be applied is left out, and the rest is one transaction; so is
// what comes after it is mended.
func TestBrokenNeighbourIsLeftOut(t *testing.T) {
	broken := func(extra string) string { return nested("two", "./two", extra) }
	for name, c := range map[string]struct {
		files  map[string]string
		refuse string
		says   string
	}{
		"cannot be rendered": {files: map[string]string{"two/bad.yaml": "a: b: c\n"}, says: "False BuildFailed"},
		"is not valid": {
			files: map[string]string{"two/bad.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: default}\nspec: {ports: [{port: 123456}]}\n"},
			says:  "False ReconciliationFailed two/bad.yaml:4: Service default/bad: spec.ports[0].port",
		},
		"has no rights":            {files: map[string]string{"cluster/two.yaml": broken("  serviceAccountName: nobody\n")}, says: "False ReconciliationFailed spec.serviceAccountName"},
		"cannot be decrypted":      {files: map[string]string{"cluster/two.yaml": broken("  decryption: {provider: sops, secretRef: {name: none}}\n")}, says: "False BuildFailed cannot get sops decryption Secret"},
		"is refused by the server": {files: map[string]string{"two/x.yaml": configMap("refused", "x")}, refuse: "refused", says: "False ReconciliationFailed configmaps \"refused\" is forbidden: it is refused"},
		"deletes too much": {
			files: map[string]string{
				"cluster/two.yaml": strings.Replace(broken(""), "metadata: {name: two,", "metadata: {name: two, annotations: {headway.dev/max-deletes: \"0\"},", 1),
				"two/b.yaml":       "", "two/b2.yaml": configMap("b2", "new"),
			},
			says: "False PruneFailed this commit would delete 1 objects",
		},
		"is frozen": {
			files: map[string]string{"cluster/two.yaml": strings.Replace(broken(""), "metadata: {name: two,", "metadata: {name: two, annotations: {headway.dev/freeze: \"* * * * * / 24h\"},", 1)},
			says:  "True ReconciliationSucceeded",
		},
		"waits for another": {files: map[string]string{"cluster/two.yaml": broken("  dependsOn: [{name: none}]\n")}, says: "False DependencyNotReady"},
	} {
		t.Run(name, func(t *testing.T) {
			w, o := monoObserved(t, two(), nil)
			w.allApplied(git(t, w.work, "rev-parse", "HEAD"), "cluster", "one", "two")
			o.mu.Lock()
			o.refuse = c.refuse
			o.mu.Unlock()
			seen := o.observe(data("root", "a", "b"))
			files := twoChanged()
			maps.Copy(files, c.files)
			w.write(files)
			w.allApplied(w.push("and a broken one"), "cluster", "one")
			w.eventually("two says "+c.says, func() bool { return strings.HasPrefix(w.readyOf("two"), c.says) })
			wantStates(t, seen(), twoOld, "root new of cluster, a new of one, b old of two")
		})
	}
}

// The children of a parent that is refused are applied together, if the commit
// leaves what it declares of them as it is.
func TestChildrenOfARefusedParentTogether(t *testing.T) {
	w, o := monoObserved(t, two(), nil)
	w.allApplied(git(t, w.work, "rev-parse", "HEAD"), "cluster", "one", "two")
	seen := o.observe(data("root", "a", "b"))
	files := twoChanged()
	files["cluster/bad.yaml"] = "apiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: default}\nspec: {ports: [{port: 123456}]}\n"
	w.write(files)
	w.allApplied(w.push("a refused parent"), "one", "two")
	wantStates(t, seen(), twoOld, "root old of cluster, a new of one, b new of two")
}

// What is slow to be built holds up the others for a moment only, and is
// applied by itself.
func TestSlowNeighbour(t *testing.T) {
	before := kustomize.Limit(kustomize.Budget{CPU: 8e9, Memory: 512 << 20})
	t.Cleanup(func() { kustomize.Limit(before) })
	w, o := monoObserved(t, two(), impatient)
	w.allApplied(git(t, w.work, "rev-parse", "HEAD"), "cluster", "one", "two")
	seen := o.observe(func(r object.Reader) string {
		ks, _ := r.Get(key("Kustomization", "headway-system", "two")).(*kustomizev1.Kustomization)
		return data("root", "a", "b")(r) + ", two tried " + strings.TrimPrefix(ks.Status.LastAttemptedRevision, "main@sha1:")
	})
	first := git(t, w.work, "rev-parse", "HEAD")
	files := twoChanged()
	maps.Copy(files, costly(t, "two/costly"))
	files["two/kustomization.yaml"] = "resources: [b.yaml, costly]\n"
	w.write(files)
	second := w.push("one that is slow")
	w.allApplied(second, "cluster", "one")
	w.eventually("two has taken too much", func() bool { return strings.Contains(w.readyOf("two"), "more than 8s of CPU time") })
	now := "root new of cluster, a new of one, b old of two, two tried "
	wantStates(t, seen(), twoOld+", two tried "+first, now+first, now+second)

	w.write(map[string]string{"two/kustomization.yaml": "resources: [b.yaml]\n"})
	w.allApplied(w.push("mended"), "cluster", "one", "two")
}

// What changes between the plans and the transaction is seen, and it is still
// one transaction; what a stop cuts off is done whole after it.
func TestTransactionIsCutOff(t *testing.T) {
	w, o := monoObserved(t, two(), nil)
	w.allApplied(git(t, w.work, "rev-parse", "HEAD"), "cluster", "one", "two")
	look := data("root", "a", "b")
	seen := o.observe(look)
	o.mu.Lock()
	o.before = func(ctx context.Context) error {
		_, err := o.Store.Commit(ctx, change.Tx{Changes: []change.Change{change.Patch(key("ConfigMap", "default", "a"), func(obj object.Object) bool {
			obj.SetAnnotations(map[string]string{"by": "hand"})
			return true
		})}})
		return err
	}
	o.mu.Unlock()
	w.write(twoChanged())
	w.allApplied(w.push("meets a change"), "cluster", "one", "two")
	wantStates(t, seen(), twoOld, twoNew)
	if got := w.store.Get(key("ConfigMap", "default", "a")).GetAnnotations()["by"]; got != "hand" {
		t.Errorf("what was annotated meanwhile is lost: %q", got)
	}

	cut := make(chan struct{})
	o.mu.Lock()
	o.before = func(ctx context.Context) error {
		close(cut)
		<-ctx.Done() // the machine stops
		return ctx.Err()
	}
	o.mu.Unlock()
	w.write(two())
	sha := w.push("is cut off")
	await(t, "it is cut off", cut)
	w.restart()
	w.allApplied(sha, "cluster", "one", "two")
	wantStates(t, seen(), twoOld, twoNew, twoOld)
}

// Variables that the commit itself changes count: what reads them is applied
// after what declares them, once.
func TestVariablesOfTheSameCommit(t *testing.T) {
	from := "  postBuild: {substituteFrom: [{kind: ConfigMap, name: vars}]}\n"
	vars := func(v string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: vars, namespace: headway-system}\ndata: {v: " + v + "}\n"
	}
	files := two()
	files["cluster/one.yaml"], files["one/a.yaml"], files["cluster/vars.yaml"] = nested("one", "./one", from), configMap("a", "${v}"), vars("old")
	w, o := monoObserved(t, files, nil)
	w.allApplied(git(t, w.work, "rev-parse", "HEAD"), "cluster", "one", "two")
	seen := o.observe(data("root", "a", "b"))
	files = twoChanged()
	files["cluster/vars.yaml"], files["one/a.yaml"] = vars("new"), configMap("a", "${v}")
	w.write(files)
	w.allApplied(w.push("variables"), "cluster", "one", "two")
	wantStates(t, seen(), twoOld, "root new of cluster, a old of one, b new of two", twoNew)
}

// Who acts as an account is applied after a commit's changes of rights, with the
// rights that it has then; with other commits it is applied together with all.
func TestRightsOfTheSameCommit(t *testing.T) {
	binding := func(user string) string {
		return "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: deployers, namespace: default}\n" +
			"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}\nsubjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: " + user + "}]\n"
	}
	files := two()
	files["cluster/two.yaml"], files["cluster/binding.yaml"] = nested("two", "./two", "  serviceAccountName: deployer\n"), binding("ada")
	r := &grantList{}
	r.set(grants("get", "patch", "create", "delete")...)
	w, o := monoObserved(t, files, func(c *syncer.Config) { c.Access = r })
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: "deployer"}})
	w.allApplied(git(t, w.work, "rev-parse", "HEAD"), "cluster", "one", "two")
	seen := o.observe(data("root", "a", "b"))
	files = twoChanged()
	files["cluster/binding.yaml"] = binding("bob")
	w.write(files)
	w.allApplied(w.push("and another binding"), "cluster", "one", "two")
	w.write(map[string]string{"cluster/root.yaml": configMap("root", "old"), "one/a.yaml": configMap("a", "old"), "two/b.yaml": configMap("b", "old")})
	w.allApplied(w.push("no binding"), "cluster", "one", "two")
	wantStates(t, seen(), twoOld, "root new of cluster, a new of one, b old of two", twoNew, twoOld)
}
