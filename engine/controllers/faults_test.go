package controllers_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/control"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// faults is what goes wrong between the store and the controllers, until there has been
// enough of it: writes are lost, or the answers to them; they conflict with those of
// others, or are late; events are lost (and the loss is told, as the store does), late,
// repeated, and in another order than they happened to several objects; and the
// controllers end before or after a write, and begin anew.
type faults struct {
	control.Store

	mu   sync.Mutex
	rng  *rand.Rand
	left int
	// happened is how often each fault did.
	happened map[string]int
	// end ends the controllers; nil: they have been ended.
	end context.CancelFunc
}

var errFault = errors.New("the store has a fault")

func newFaults(seed uint64, left int) *faults {
	return &faults{rng: rand.New(rand.NewPCG(seed, 1)), left: left, happened: map[string]int{}} //nolint:gosec // a test repeats it
}

// under puts the faults before the store.
func (f *faults) under(cfg *controllers.Config) { f.Store, cfg.Store = cfg.Store, f }

// draw is one of the faults, or none.
func (f *faults) draw(which ...string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 || f.rng.IntN(3) > 0 {
		return ""
	}
	what := which[f.rng.IntN(len(which))]
	f.left--
	f.happened[what]++
	return what
}

func (f *faults) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = 0
}

// crash ends the controllers where they are.
func (f *faults) crash() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end != nil {
		f.end()
		f.end = nil
	}
	return errFault
}

// run runs controllers, and others in their place after each crash.
func (f *faults) run(ctx context.Context, begin func() (*controllers.Controllers, error)) error {
	for {
		life, end := context.WithCancel(ctx)
		f.mu.Lock()
		f.end = end
		f.mu.Unlock()
		ctl, err := begin()
		if err == nil {
			err = ctl.Run(life)
		}
		end()
		if ctx.Err() != nil || err != nil && !errors.Is(err, errFault) && !apierrors.IsConflict(err) {
			return err
		}
	}
}

func (f *faults) late(ctx context.Context) {
	f.mu.Lock()
	lag := time.Duration(f.rng.IntN(20)) * time.Millisecond
	f.mu.Unlock()
	select {
	case <-time.After(lag):
	case <-ctx.Done():
	}
}

// Commit implements control.Store.
func (f *faults) Commit(ctx context.Context, tx change.Tx) ([]object.Object, error) {
	what := f.draw("a write lost", "an answer lost", "a write late", "an answer late", "a conflict", "another's write", "a crash before a write", "a crash after a write")
	f.mu.Lock()
	dead := f.end == nil
	f.mu.Unlock()
	switch {
	case dead || what == "a write lost":
		return nil, errFault
	case what == "a crash before a write":
		return nil, f.crash()
	case what == "a conflict":
		return nil, apierrors.NewConflict(schema.GroupResource{}, tx.Changes[0].Key.Name, errFault)
	case what == "a write late":
		f.late(ctx)
	case what == "another's write":
		f.touch(ctx, tx)
	}
	objs, err := f.Store.Commit(ctx, tx)
	switch {
	case err != nil:
	case what == "an answer lost":
		return nil, errFault
	case what == "a crash after a write":
		return nil, f.crash()
	case what == "an answer late":
		f.late(ctx)
	}
	return objs, err
}

// touch changes an object before somebody writes it.
func (f *faults) touch(ctx context.Context, tx change.Tx) {
	for _, ch := range tx.Changes {
		_, _ = f.Store.Commit(ctx, change.Tx{Changes: []change.Change{control.Present(change.Patch(ch.Key, func(obj object.Object) bool {
			annotations := maps.Clone(obj.GetAnnotations())
			if annotations == nil {
				annotations = map[string]string{}
			}
			n, _ := strconv.Atoi(annotations["example.com/touched"])
			annotations["example.com/touched"] = strconv.Itoa(n + 1)
			obj.SetAnnotations(annotations)
			return true
		}))}}) // it may be refused
	}
}

// Watch implements control.Store.
func (f *faults) Watch(from uint64, kinds ...schema.GroupKind) (object.Watcher, error) {
	w, err := f.Store.Watch(from, kinds...)
	if err != nil {
		return nil, err
	}
	return &faultyWatcher{Watcher: w, faults: f}, nil
}

type faultyWatcher struct {
	object.Watcher
	faults *faults
	last   []object.Event
}

func (w *faultyWatcher) Next(ctx context.Context) ([]object.Event, error) {
	events, err := w.Watcher.Next(ctx)
	if err != nil {
		return nil, err
	}
	told := events
	switch w.faults.draw("events lost", "events late", "events repeated", "events reordered") {
	case "events lost":
		return nil, object.ErrExpired
	case "events late":
		w.faults.late(ctx)
	case "events repeated":
		told = slices.Concat(w.last, events, events)
	case "events reordered":
		// What happened to one object stays in order.
		var keys []object.Key
		by := map[object.Key][]object.Event{}
		for _, ev := range events {
			if by[ev.Key] == nil {
				keys = append(keys, ev.Key)
			}
			by[ev.Key] = append(by[ev.Key], ev)
		}
		w.faults.mu.Lock()
		w.faults.rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		w.faults.mu.Unlock()
		told = nil
		for _, key := range keys {
			told = append(told, by[key]...)
		}
	}
	w.last = events
	return told, nil
}

// story is what becomes of a cluster under faults.
type story struct {
	// edit changes how the controllers run, if set.
	edit func(*controllers.Config)
	// begin makes what the story is about.
	begin func(c *cluster, t *rapid.T)
	// acts are what users do, some of them and in any order.
	acts map[string]func(c *cluster, t *rapid.T)
	// always is what holds at any moment, if set.
	always func(c *cluster) error
	// settled is the state at the end. It may act as whoever is asked for at the end.
	settled func(c *cluster) error
}

// checks are how often each story is told; -rapid.checks has another number.
const checks = 10

// underFaults tells a story again and again, each time with other faults.
func (s story) underFaults(t *testing.T) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		f := newFaults(rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(10, 60).Draw(rt, "faults"))
		tb := inRapid{t, rt}
		edits := []func(*controllers.Config){f.under}
		if s.edit != nil {
			edits = append(edits, s.edit)
		}
		c := startOn(tb, store.Options{Path: filepath.Join(tb.TempDir(), "db")}, 1, edits...)
		s.begin(c, rt)
		names := slices.Sorted(maps.Keys(s.acts))
		for range rapid.IntRange(1, 8).Draw(rt, "acts") {
			s.acts[rapid.SampledFrom(names).Draw(rt, "act")](c, rt)
			c.after(rapid.Uint64Range(0, 20).Draw(rt, "writes"), s.always)
		}
		f.stop()
		var unsettled error
		defer func() {
			if rt.Failed() {
				f.mu.Lock()
				defer f.mu.Unlock()
				// Of the test, which keeps it if another try comes to a good end.
				t.Logf("faults: %v; in the end: %v", f.happened, unsettled)
			}
		}()
		c.eventually("the end of the story", func() bool {
			if s.always != nil {
				if err := s.always(c); err != nil {
					rt.Fatalf("%v", err)
				}
			}
			unsettled = s.settled(c)
			if unsettled == nil {
				unsettled = c.leaks()
			}
			return unsettled == nil
		})
	})
}

// after waits until there have been more writes, or no more for a moment, and looks at
// whether something holds meanwhile.
func (c *cluster) after(writes uint64, always func(c *cluster) error) {
	c.t.Helper()
	watcher, err := c.store.Watch(0)
	if err != nil {
		c.t.Fatal(err)
	}
	for until := c.store.Revision() + writes; c.store.Revision() < until; {
		if always != nil {
			if err := always(c); err != nil {
				c.t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(c.ctx, 20*time.Millisecond)
		_, err := watcher.Next(ctx)
		cancel()
		if err != nil {
			return
		}
	}
}

// leaks is what is left over of what is gone: objects without the owner that controls
// them, and such as wait to be deleted.
func (c *cluster) leaks() error {
	for _, k := range (&scheme.Registry{}).Kinds() {
		objs, _ := c.store.List(k.GroupKind(), "")
		for _, obj := range objs {
			key := object.KeyOf(k.GroupKind(), obj)
			if obj.GetDeletionTimestamp() != nil {
				return fmt.Errorf("%s waits to be deleted", key)
			}
			if slices.Contains(obj.GetFinalizers(), batchv1.JobTrackingFinalizer) {
				return fmt.Errorf("%s has not been counted", key)
			}
			if ref := metav1.GetControllerOf(obj); ref != nil {
				gv, _ := schema.ParseGroupVersion(ref.APIVersion)
				owner := c.store.Get(object.Key{GroupKind: schema.GroupKind{Group: gv.Group, Kind: ref.Kind}, Namespace: obj.GetNamespace(), Name: ref.Name})
				if owner == nil || owner.GetUID() != ref.UID {
					return fmt.Errorf("%s is controlled by %s %s, which is gone", key, ref.Kind, ref.Name)
				}
			}
		}
	}
	return nil
}

// ownedBy are the objects of a kind that an object controls.
func ownedBy[T object.Object](c *cluster, kind schema.GroupKind, owner types.UID) []T {
	objs, _ := c.store.List(kind, "")
	var owned []T
	for _, obj := range objs {
		if ref := metav1.GetControllerOf(obj); ref != nil && ref.UID == owner {
			owned = append(owned, obj.(T))
		}
	}
	return owned
}

// given are the flags of the command line, and not those that a test has set.
var given = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { names[f.Name] = true })
	return names
})

// TestUnderFaults: whatever goes wrong between the store and the controllers, they bring
// the cluster to the state that was asked for, make nothing twice and leave nothing over.
func TestUnderFaults(t *testing.T) {
	given := given()
	// What happens is not repeated by the same draws: they find nothing smaller.
	for name, value := range map[string]string{"rapid.checks": strconv.Itoa(checks), "rapid.shrinktime": "1s", "rapid.nofailfile": "true"} {
		if given[name] {
			continue
		}
		defer func(before string) { _ = flag.Set(name, before) }(flag.Lookup(name).Value.String())
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	for name, s := range stories() {
		t.Run(name, s.underFaults)
	}
}

// inRapid is a test whose words and ends are those of one check.
type inRapid struct {
	testing.TB
	t *rapid.T
}

func (t inRapid) Helper()                      { t.t.Helper() }
func (t inRapid) Cleanup(f func())             { t.t.Cleanup(f) }
func (t inRapid) Context() context.Context     { return t.t.Context() }
func (t inRapid) Error(args ...any)            { t.t.Error(args...) }
func (t inRapid) Errorf(f string, args ...any) { t.t.Errorf(f, args...) }
func (t inRapid) Fatal(args ...any)            { t.t.Fatal(args...) }
func (t inRapid) Fatalf(f string, args ...any) { t.t.Fatalf(f, args...) }
func (t inRapid) Log(args ...any)              { t.t.Log(args...) }
func (t inRapid) Logf(f string, args ...any)   { t.t.Logf(f, args...) }
func (t inRapid) Failed() bool                 { return t.t.Failed() }

func (t inRapid) TempDir() string {
	dir, err := os.MkdirTemp("", strings.ReplaceAll(t.Name(), "/", "-"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
