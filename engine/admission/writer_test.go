package admission_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	kadmission "k8s.io/apiserver/pkg/admission"

	"headway.dev/engine/admission"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// plugin is an admission plugin of functions, which wants to see ConfigMaps.
type plugin struct {
	admit, validate func(ctx context.Context, attrs kadmission.Attributes) error
	// ignores is an operation that it does not want to see.
	ignores kadmission.Operation
}

func (p plugin) Handles(op kadmission.Operation) bool { return op != p.ignores }

func (plugin) Wants(resource schema.GroupResource, _ string) bool {
	return resource.Resource == "configmaps"
}

func (p plugin) Admit(ctx context.Context, attrs kadmission.Attributes, _ kadmission.ObjectInterfaces) error {
	if p.admit == nil {
		return nil
	}
	return p.admit(ctx, attrs)
}

func (p plugin) Validate(ctx context.Context, attrs kadmission.Attributes, _ kadmission.ObjectInterfaces) error {
	if p.validate == nil {
		return nil
	}
	return p.validate(ctx, attrs)
}

func open(t *testing.T, plugins ...plugin) (*admission.Writer, *store.Store) {
	t.Helper()
	st, err := store.Open(store.Options{Path: filepath.Join(t.TempDir(), "db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	var chain []admission.Plugin
	for i, p := range plugins {
		chain = append(chain, admission.Plugin{Name: fmt.Sprintf("Plugin%d", i), Interface: p})
	}
	return admission.NewWriter(st, admission.NewChain(chain...), nil, change.Account("kube-system", "test-controller")), st
}

func key(name string) object.Key {
	return object.Key{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "default", Name: name}
}

func create(name string) change.Change {
	return change.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}, time.Now())
}

// add adds one to the number of the ConfigMap a.
func add() change.Change {
	return change.Patch(key("a"), func(obj object.Object) bool {
		cm := obj.(*corev1.ConfigMap)
		cm.Data = map[string]string{"n": cm.Data["n"] + "i"}
		return true
	})
}

// data is that of the ConfigMap a.
func data(r object.Reader) map[string]string {
	cm, ok := r.Get(key("a")).(*corev1.ConfigMap)
	if !ok {
		return nil
	}
	return cm.Data
}

func commit(t *testing.T, w *admission.Writer, changes ...change.Change) error {
	t.Helper()
	_, err := w.Commit(t.Context(), change.Tx{Changes: changes})
	return err
}

// stamp writes how often the object was changed and by whom.
func stamp(_ context.Context, attrs kadmission.Attributes) error {
	if cm, ok := attrs.GetObject().(*corev1.ConfigMap); ok {
		cm.Annotations = map[string]string{"op": string(attrs.GetOperation()), "user": attrs.GetUserInfo().GetName(), "n": cm.Data["n"]}
	}
	return nil
}

// What plugins make of a change is stored, and its user is the one that they
// see; what was handed over stays as it was.
func TestPluginsChangeWhatIsStored(t *testing.T) {
	w, st := open(t, plugin{admit: stamp})
	given := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}
	if err := commit(t, w, change.Create(given, time.Now())); err != nil {
		t.Fatal(err)
	}
	if a := st.Get(key("a")).GetAnnotations(); a["op"] != "CREATE" || a["user"] != "system:serviceaccount:kube-system:test-controller" {
		t.Errorf("created with %v", a)
	}
	if given.Annotations != nil {
		t.Errorf("what was handed over has changed: %v", given.Annotations)
	}
	by := change.User{Name: "jane"}
	edit := add()
	edit.By = &by
	if err := commit(t, w, edit); err != nil {
		t.Fatal(err)
	}
	if a := st.Get(key("a")).GetAnnotations(); a["op"] != "UPDATE" || a["user"] != "jane" || a["n"] != "i" {
		t.Errorf("updated with %v", a)
	}
	// A plugin that takes the change back leaves nothing to store.
	revision := st.Revision()
	w, _ = admission.NewWriter(st, admission.NewChain(admission.Plugin{Name: "Undo", Interface: plugin{admit: func(_ context.Context, attrs kadmission.Attributes) error {
		old, _ := attrs.GetOldObject().(*corev1.ConfigMap)
		attrs.GetObject().(*corev1.ConfigMap).Data = old.Data
		return nil
	}}}), nil, by), st
	if err := commit(t, w, add()); err != nil || st.Revision() != revision {
		t.Errorf("an update that a plugin takes back: %v, revision %d, was %d", err, st.Revision(), revision)
	}
}

// Later changes of a transaction are judged upon its earlier ones, and the same
// object may be changed twice.
func TestTransactionIsJudgedInOrder(t *testing.T) {
	var saw []string
	w, st := open(t, plugin{validate: func(ctx context.Context, attrs kadmission.Attributes) error {
		list, _ := admission.View(ctx, nil).List(schema.GroupKind{Kind: "ConfigMap"}, "default")
		saw = append(saw, fmt.Sprintf("%s %s %d %s", attrs.GetOperation(), attrs.GetName(), len(list), data(admission.View(ctx, nil))["n"]))
		return nil
	}})
	remove := change.Delete(key("b"), metav1.DeleteOptions{}, time.Now())
	if err := commit(t, w, create("a"), add(), add(), create("b"), remove, create("b")); err != nil {
		t.Fatal(err)
	}
	want := []string{"CREATE a 0 ", "UPDATE a 1 ", "UPDATE a 1 i", "CREATE b 1 ii", "DELETE b 2 ii", "CREATE b 1 ii"}
	if !slices.Equal(saw, want) {
		t.Errorf("plugins saw %q, want %q", saw, want)
	}
	if data(st)["n"] != "ii" || st.Get(key("b")) == nil {
		t.Errorf("stored: a %v, b %v", data(st), st.Get(key("b")))
	}
}

// A transaction of which one change is refused leaves nothing; the error is the
// plugin's.
func TestRefusalLeavesNothing(t *testing.T) {
	refusal := apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "b", errors.New("no"))
	w, st := open(t, plugin{validate: func(_ context.Context, attrs kadmission.Attributes) error {
		if attrs.GetName() == "b" {
			return refusal
		}
		return nil
	}})
	if err := commit(t, w, create("a"), create("b")); !errors.Is(err, refusal) {
		t.Errorf("error %v, want the plugin's", err)
	}
	if st.Get(key("a")) != nil {
		t.Error("a was stored all the same")
	}
}

// If an object changes while a plugin thinks about it, the plugin is asked again
// about what the change comes to then, and nothing is lost.
func TestAdmittedAgainIfTheObjectChanged(t *testing.T) {
	var asked atomic.Int32
	var st *store.Store
	w, st := open(t, plugin{admit: func(ctx context.Context, attrs kadmission.Attributes) error {
		if attrs.GetOperation() == kadmission.Update && asked.Add(1) <= 3 {
			// Somebody else is faster.
			if _, err := st.Commit(ctx, change.Tx{Changes: []change.Change{add()}}); err != nil {
				return err
			}
		}
		return stamp(ctx, attrs)
	}})
	if err := commit(t, w, create("a")); err != nil {
		t.Fatal(err)
	}
	if err := commit(t, w, add()); err != nil {
		t.Fatal(err)
	}
	if n := data(st)["n"]; n != "iiii" || st.Get(key("a")).GetAnnotations()["n"] != n || asked.Load() != 4 {
		t.Errorf("stored %q, as the plugin saw %q, which was asked %d times", n, st.Get(key("a")).GetAnnotations()["n"], asked.Load())
	}
	// Who asks for a certain version gets the conflict.
	old, _ := st.Get(key("a")).DeepCopyObject().(object.Object)
	if err := commit(t, w, add()); err != nil {
		t.Fatal(err)
	}
	old.SetLabels(map[string]string{"a": "b"})
	if err := commit(t, w, change.Update(old)); !apierrors.IsConflict(err) {
		t.Errorf("an update of an old version: %v", err)
	}
}

// Many writers of one object lose nothing to each other.
func TestConcurrentWritersLoseNothing(t *testing.T) {
	w, st := open(t, plugin{admit: stamp})
	if err := commit(t, w, create("a")); err != nil {
		t.Fatal(err)
	}
	const writers, each = 8, 10
	done := make(chan error, writers)
	for range writers {
		go func() {
			for range each {
				if _, err := w.Commit(context.Background(), change.Tx{Changes: []change.Change{add()}}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := len(data(st)["n"]); n != writers*each {
		t.Errorf("%d changes are left of %d", n, writers*each)
	}
}

// A panic of a plugin refuses the write, names the plugin, is told, and leaves
// other writes alone.
func TestPanicOfAPlugin(t *testing.T) {
	var told atomic.Int32
	handlers := utilruntime.PanicHandlers
	utilruntime.PanicHandlers = append(slices.Clone(handlers), func(context.Context, any) { told.Add(1) })
	t.Cleanup(func() { utilruntime.PanicHandlers = handlers })
	w, st := open(t, plugin{}, plugin{validate: func(_ context.Context, attrs kadmission.Attributes) error {
		if attrs.GetName() == "bad" {
			panic("poison")
		}
		return nil
	}})
	err := commit(t, w, create("bad"))
	if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), `admission plugin "Plugin1" panicked`) || strings.Contains(err.Error(), "poison") {
		t.Errorf("error %v", err)
	}
	if err := commit(t, w, create("good")); err != nil || st.Get(key("good")) == nil || st.Get(key("bad")) != nil {
		t.Errorf("another write: %v", err)
	}
	if told.Load() != 1 {
		t.Errorf("%d panics were told, want 1", told.Load())
	}
}

// The panic of a change is an error for whoever made it.
func TestPanicOfAChange(t *testing.T) {
	handlers := utilruntime.PanicHandlers
	utilruntime.PanicHandlers = nil
	t.Cleanup(func() { utilruntime.PanicHandlers = handlers })
	w, st := open(t, plugin{})
	poison := change.Change{Key: key("bad"), Mutate: func(object.Object) (object.Object, error) { panic("poison") }}
	if err := commit(t, w, create("a"), poison); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("error %v", err)
	}
	if err := commit(t, w, create("b")); err != nil || st.Get(key("b")) == nil || st.Get(key("a")) != nil {
		t.Errorf("another write: %v; a is stored: %v", err, st.Get(key("a")))
	}
}

// busy is a store whose ConfigMap a changes right before each transaction.
type busy struct{ *store.Store }

func (s busy) Commit(ctx context.Context, tx change.Tx) ([]object.Object, error) {
	if _, err := s.Store.Commit(ctx, change.Tx{Changes: []change.Change{add()}}); err != nil {
		return nil, err
	}
	return s.Store.Commit(ctx, tx)
}

// first is a store whose ConfigMap a changes right before the first transaction.
type first struct {
	*store.Store
	done bool
}

func (s *first) Commit(ctx context.Context, tx change.Tx) ([]object.Object, error) {
	if s.done {
		return s.Store.Commit(ctx, tx)
	}
	s.done = true
	return busy{s.Store}.Commit(ctx, tx)
}

// The deletion of a busy object, which no plugin wants to see, conflicts with
// nobody. What becomes something else than it was when the plugins were asked is
// admitted after all.
func TestDeletionConflictsWithNobody(t *testing.T) {
	_, st := open(t)
	var saw []kadmission.Operation
	chain := admission.NewChain(admission.Plugin{Name: "Plugin", Interface: plugin{ignores: kadmission.Delete, validate: func(_ context.Context, attrs kadmission.Attributes) error {
		saw = append(saw, attrs.GetOperation())
		return nil
	}}})
	user := change.Account("kube-system", "test-controller")
	if err := commit(t, admission.NewWriter(st, chain, nil, user), create("a")); err != nil {
		t.Fatal(err)
	}
	w := admission.NewWriter(busy{st}, chain, nil, user)
	if err := commit(t, w, change.Delete(key("a"), metav1.DeleteOptions{}, time.Now())); err != nil || st.Get(key("a")) != nil {
		t.Errorf("delete: %v, a is %v", err, st.Get(key("a")))
	}
	if err := commit(t, admission.NewWriter(st, chain, nil, user), create("a")); err != nil {
		t.Fatal(err)
	}
	saw = nil
	// Seen without a number it is deleted; by then it has one, and is updated.
	unlessCounted := change.Change{Key: key("a"), Mutate: func(current object.Object) (object.Object, error) {
		if cm, ok := current.(*corev1.ConfigMap); ok && cm.Data["n"] != "" {
			cm = cm.DeepCopy()
			cm.Labels = map[string]string{"counted": "yes"}
			return cm, nil
		}
		return nil, nil
	}}
	if _, err := admission.NewWriter(&first{Store: st}, chain, nil, user).Commit(t.Context(), change.Tx{Changes: []change.Change{unlessCounted}}); err != nil {
		t.Fatal(err)
	}
	if st.Get(key("a")) == nil || st.Get(key("a")).GetLabels()["counted"] != "yes" || !slices.Equal(saw, []kadmission.Operation{kadmission.Update}) {
		t.Errorf("a is %v, the plugin saw %v", st.Get(key("a")), saw)
	}
}

// What no plugin wants to see goes to the store as it came: its Mutate runs once.
func TestWritesThatNobodyWantsToSee(t *testing.T) {
	w, _ := open(t, plugin{validate: func(context.Context, kadmission.Attributes) error { return errors.New("no") }})
	runs := 0
	secret := change.Create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}}, time.Now())
	mutate := secret.Mutate
	secret.Mutate = func(current object.Object) (object.Object, error) {
		runs++
		return mutate(current)
	}
	if err := commit(t, w, secret); err != nil || runs != 1 {
		t.Errorf("error %v, Mutate ran %d times", err, runs)
	}
	if err := commit(t, w, create("a")); err == nil {
		t.Error("a ConfigMap was admitted")
	}
}

// A plan is told what would come of it, and nothing is stored.
func TestForesee(t *testing.T) {
	w, st := open(t, plugin{admit: stamp, validate: func(_ context.Context, attrs kadmission.Attributes) error {
		if !attrs.IsDryRun() {
			t.Error("it is no dry run")
		}
		if attrs.GetName() == "b" {
			return errors.New("no")
		}
		return nil
	}})
	ask := func(name string) admission.Answer {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		return w.Foresee(t.Context(), admission.Ask{View: st, By: change.User{Name: "jane"}, Object: cm})
	}
	if a := ask("a"); a.Refused != nil || a.Object.GetAnnotations()["user"] != "jane" {
		t.Errorf("answer %+v", a)
	}
	if a := ask("b"); a.Refused == nil || a.Refused.Error() != "no" {
		t.Errorf("answer %+v", a)
	}
	if st.Get(key("a")) != nil {
		t.Error("it was stored")
	}
}

// Who writes waits for the plugins as long as its patience lasts, for all changes of all
// its transactions together: then nothing of a transaction is stored, which says why, and
// which others do not notice.
func TestPatienceOfWriters(t *testing.T) {
	asked := 0
	w, st := open(t, plugin{validate: func(ctx context.Context, _ kadmission.Attributes) error {
		asked++
		change.PatienceIn(ctx).Took("hook.example:443", time.Hour)
		return nil
	}})
	ctx := change.NewPatience(time.Nanosecond).In(t.Context())
	_, err := w.Commit(ctx, change.Tx{Changes: []change.Change{create("a"), create("b"), create("c")}})
	const want = "admission was asked about 1 objects, which took longer than the 1ns that there are for all: 1h0m0s of it the webhook hook.example:443; make that faster, or the commit smaller"
	if err == nil || err.Error() != want || asked != 1 || st.Get(key("a")) != nil {
		t.Errorf("asked %d times, stored %v: %v", asked, st.Get(key("a")), err)
	}
	if _, err := w.Commit(ctx, change.Tx{Changes: []change.Change{create("a")}}); err == nil || err.Error() != want || asked != 1 {
		t.Errorf("the next one: asked %d times: %v", asked, err)
	}
	for _, ctx := range []context.Context{t.Context(), change.NewPatience(time.Hour).In(t.Context())} {
		name := fmt.Sprint("of-", asked)
		if _, err := w.Commit(ctx, change.Tx{Changes: []change.Change{create(name), create(name + "-2")}}); err != nil || st.Get(key(name)) == nil {
			t.Errorf("another: %v", err)
		}
	}
}
