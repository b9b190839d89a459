package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/store"
	"headway.dev/engine/store/file"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

var (
	configMapKind = schema.GroupKind{Kind: "ConfigMap"}
	podKind       = schema.GroupKind{Kind: "Pod"}
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		crashChild(dir) // runs until it is killed
	}
	goleak.VerifyTestMain(m)
}

func open(tb testing.TB, opts store.Options) *store.Store {
	tb.Helper()
	s, err := store.Open(opts)
	if err != nil {
		tb.Fatalf("Open: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return s
}

func tempStore(tb testing.TB) *store.Store {
	tb.Helper()
	return open(tb, store.Options{Path: filepath.Join(tb.TempDir(), "db")})
}

func configKey(name string) object.Key {
	return object.Key{GroupKind: configMapKind, Namespace: "default", Name: name}
}

func config(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Data:       map[string]string{"value": value},
	}
}

// put makes value the state of the ConfigMap name, "" removes it.
func put(name, value string) change.Change {
	return change.Change{Key: configKey(name), Mutate: func(object.Object) (object.Object, error) {
		if value == "" {
			return nil, nil
		}
		return config(name, value), nil
	}}
}

func commit(tb testing.TB, s *store.Store, d change.Durability, changes ...change.Change) []object.Object {
	tb.Helper()
	objs, err := s.Commit(tb.Context(), change.Tx{Durability: d, Changes: changes})
	if err != nil {
		tb.Fatalf("Commit: %v", err)
	}
	return objs
}

// values are the ConfigMaps of the store by name.
func values(r object.Reader) map[string]string {
	objs, _ := r.List(configMapKind, "")
	out := map[string]string{}
	for _, o := range objs {
		out[o.GetName()] = o.(*corev1.ConfigMap).Data["value"]
	}
	return out
}

func wantValues(t *testing.T, r object.Reader, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, values(r)); diff != "" {
		t.Errorf("stored values (-want +got):\n%s", diff)
	}
}

// What is committed can be read, carries its revision, and is there after
// opening again, in both durability classes and both encodings.
func TestCommitAndReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, err := store.Open(store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	given := config("a", "1")
	objs := commit(t, s, change.Wait, change.Change{Key: configKey("a"), Mutate: func(object.Object) (object.Object, error) { return given, nil }})
	if got, want := objs[0].GetResourceVersion(), strconv.FormatUint(s.Revision(), 10); got != want {
		t.Errorf("resourceVersion = %s, want the revision %s", got, want)
	}
	if given.ResourceVersion != "" {
		t.Errorf("the caller's object was changed: resourceVersion %s", given.ResourceVersion)
	}
	commit(t, s, change.Behind, put("b", "2"), put("c", "3"))
	commit(t, s, change.Behind, put("b", ""), put("c", "4"))
	flux := schema.GroupKind{Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization"}
	fluxKey := object.Key{GroupKind: flux, Namespace: "default", Name: "k"}
	commit(t, s, change.Wait, change.Change{Key: fluxKey, Mutate: func(object.Object) (object.Object, error) {
		return &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "k"}, Spec: kustomizev1.KustomizationSpec{Path: "./x"}}, nil
	}})
	want := map[string]string{"a": "1", "c": "4"}
	wantValues(t, s, want)
	version, revision := s.Get(configKey("c")).GetResourceVersion(), s.Revision()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, store.Options{Path: path})
	wantValues(t, s, want)
	if got := s.Get(configKey("c")).GetResourceVersion(); got != version {
		t.Errorf("resourceVersion after reopening = %s, want %s", got, version)
	}
	if got := s.Revision(); got != revision {
		t.Errorf("revision after a clean stop = %d, want %d", got, revision)
	}
	if got := s.Get(fluxKey).(*kustomizev1.Kustomization).Spec.Path; got != "./x" {
		t.Errorf("Kustomization path = %q", got)
	}
}

// A transaction sees its own earlier changes, and a failing one leaves nothing
// behind, also not for the others of its batch.
func TestTransactions(t *testing.T) {
	s := tempStore(t)
	boom := errors.New("boom")
	appendTo := func(name, suffix string) change.Change {
		return change.Change{Key: configKey(name), Mutate: func(cur object.Object) (object.Object, error) {
			old := ""
			if cur != nil {
				old = cur.(*corev1.ConfigMap).Data["value"]
			}
			return config(name, old+suffix), nil
		}}
	}
	fail := change.Change{Key: configKey("z"), Mutate: func(object.Object) (object.Object, error) { return nil, boom }}
	objs := commit(t, s, change.Wait, appendTo("a", "1"), appendTo("a", "2"), put("b", "x"), put("b", ""))
	if got := objs[0].(*corev1.ConfigMap).Data["value"]; got != "12" {
		t.Errorf("value = %q, want 12", got)
	}
	if objs[2] != nil || objs[3] != nil {
		t.Errorf("results of the removed key = %v, %v, want nil", objs[2], objs[3])
	}
	before := s.Revision()

	errs := make(chan error)
	for i := range 64 {
		go func() {
			tx := change.Tx{Changes: []change.Change{appendTo("a", "x"), put(fmt.Sprint(i), "y")}}
			if i%2 == 0 {
				tx.Changes = append(tx.Changes, fail)
			}
			if i%3 == 0 {
				tx.Durability = change.Behind
			}
			_, err := s.Commit(context.Background(), tx)
			if want := i%2 == 0; want != errors.Is(err, boom) {
				err = fmt.Errorf("transaction %d: want an error: %v, got: %w", i, want, err)
			} else {
				err = nil
			}
			errs <- err
		}()
	}
	for range 64 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	want := map[string]string{"a": "12" + strings.Repeat("x", 32)}
	for i := 1; i < 64; i += 2 {
		want[strconv.Itoa(i)] = "y"
	}
	wantValues(t, s, want)
	if got, want := s.Revision(), before+64; got != want {
		t.Errorf("revision = %d, want %d", got, want)
	}
}

func TestNoChange(t *testing.T) {
	s := tempStore(t)
	commit(t, s, change.Wait, put("a", "1"))
	before := s.Revision()
	commit(t, s, change.Wait,
		change.Change{Key: configKey("a"), Mutate: func(cur object.Object) (object.Object, error) { return cur, nil }},
		put("missing", ""))
	if got := s.Revision(); got != before {
		t.Errorf("revision = %d after changing nothing, want %d", got, before)
	}
}

// Refused: a panicking change, a kind nobody registered, an ended
// context.
func TestRefused(t *testing.T) {
	s := tempStore(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	unknown := object.Key{GroupKind: schema.GroupKind{Group: "x", Kind: "Y"}, Namespace: "default", Name: "a"}
	for name, tc := range map[string]struct {
		ctx  context.Context //nolint:containedctx // one case is about the context
		c    change.Change
		want string
	}{
		"panic":   {t.Context(), change.Change{Key: configKey("a"), Mutate: func(object.Object) (object.Object, error) { panic("ouch") }}, "ouch"},
		"unknown": {t.Context(), change.Change{Key: unknown, Mutate: func(object.Object) (object.Object, error) { return config("a", ""), nil }}, "not registered"},
		"ended":   {ended, put("a", "1"), "context canceled"},
	} {
		_, err := s.Commit(tc.ctx, change.Tx{Changes: []change.Change{put("other", "1"), tc.c}})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error = %v, want one with %q", name, err, tc.want)
		}
	}
	wantValues(t, s, map[string]string{})
}

// Admit hooks see the transaction's earlier changes, can replace the object
// and refuse the whole.
func TestAdmit(t *testing.T) {
	hook := func(view object.Reader, next, old object.Object) (object.Object, error) {
		if next == nil {
			if old.GetName() == "kept" {
				return nil, errors.New("kept")
			}
			return nil, nil
		}
		objs, _ := view.List(configMapKind, "default")
		dup := next.DeepCopyObject().(*corev1.ConfigMap)
		dup.Data["seen"] = strconv.Itoa(len(objs))
		return dup, nil
	}
	s := open(t, store.Options{Path: filepath.Join(t.TempDir(), "db"), Admit: []store.Admit{hook}})
	commit(t, s, change.Wait, put("a", "1"), put("b", "1"), put("kept", "1"))
	for name, want := range map[string]string{"a": "0", "b": "1", "kept": "2"} {
		if got := s.Get(configKey(name)).(*corev1.ConfigMap).Data["seen"]; got != want {
			t.Errorf("%s saw %s others, want %s", name, got, want)
		}
	}
	if _, err := s.Commit(t.Context(), change.Tx{Changes: []change.Change{put("a", ""), put("kept", "")}}); err == nil || err.Error() != "kept" {
		t.Errorf("error = %v, want that of the hook", err)
	}
	if s.Get(configKey("a")) == nil {
		t.Error("a refused transaction deleted an object")
	}
}

// What goes along with a change is there for the next one, is taken back with
// the transaction, and gives way to what that changes itself.
func TestAlong(t *testing.T) {
	opts := store.Options{Path: filepath.Join(t.TempDir(), "db")}
	opts.Along = func(_ object.Reader, ev object.Event) []change.Change {
		if name, ok := strings.CutPrefix(ev.Key.Name, "lead-"); ok && ev.Type == object.Added {
			return []change.Change{put(name, "along")}
		}
		if name, ok := strings.CutPrefix(ev.Key.Name, "always-"); ok {
			c := put(name, "along")
			c.Always = true
			return []change.Change{c}
		}
		return nil
	}
	opts.Admit = []store.Admit{func(view object.Reader, next, _ object.Object) (object.Object, error) {
		if next.GetName() == "needs-a" && view.Get(configKey("a")) == nil {
			return nil, errors.New("there is no a")
		}
		return next, nil
	}}
	s := open(t, opts)
	try := func(changes ...change.Change) error {
		_, err := s.Commit(t.Context(), change.Tx{Changes: changes})
		return err
	}
	if err := try(put("lead-b", "1"), put("needs-a", "1")); err == nil || err.Error() != "there is no a" {
		t.Errorf("error = %v, want that of the hook", err)
	}
	wantValues(t, s, map[string]string{})
	if err := try(put("lead-a", "1"), put("needs-a", "1"), put("lead-c", "1"), put("c", "own")); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"lead-a": "1", "a": "along", "needs-a": "1", "lead-c": "1", "c": "own"}
	wantValues(t, s, want)
	if err := try(put("e", "own"), put("always-e", "1")); err != nil {
		t.Fatal(err)
	}
	want["e"], want["always-e"] = "along", "1"
	wantValues(t, s, want)
	results, err := s.DryRun(t.Context(), change.Tx{Changes: []change.Change{put("lead-d", "1")}})
	if err != nil || len(results) != 1 || results[0].Object.GetName() != "lead-d" {
		t.Errorf("results = %v, %v, want those of the transaction's own changes", results, err)
	}
	wantValues(t, s, want)
}

// The observer knows of a change before anybody reads it or is told of it: what
// it keeps is asked by who was.
func TestObserverIsFirst(t *testing.T) {
	observing, release := make(chan struct{}), make(chan struct{})
	s := open(t, store.Options{Path: filepath.Join(t.TempDir(), "db"), Observe: func(events []object.Event) {
		if len(events) > 0 {
			close(observing)
			<-release
		}
	}})
	done := make(chan error, 1)
	go func() {
		_, err := s.Commit(t.Context(), change.Tx{Changes: []change.Change{put("a", "1")}})
		done <- err
	}()
	<-observing
	if got := s.Get(configKey("a")); got != nil {
		t.Errorf("read %v before the observer knew of it", got)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantValues(t, s, map[string]string{"a": "1"})
}

// A dry run says what would happen and leaves nothing behind.
func TestDryRun(t *testing.T) {
	s := tempStore(t)
	commit(t, s, change.Wait, put("a", "1"))
	before := s.Revision()
	tx := change.Tx{
		Changes: []change.Change{put("a", "2"), put("b", "2"), put("a", "")},
		Append:  []change.Record{{Log: "journal", Data: []byte("x")}},
	}
	results, err := s.DryRun(t.Context(), tx)
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Object != nil || results[1].Object == nil {
		t.Errorf("results = %v, want a gone and b there", results)
	}
	wantValues(t, s, map[string]string{"a": "1"})
	if records, err := s.Records("journal", 0, 1); err != nil || len(records) > 0 || s.Revision() != before {
		t.Errorf("records %q, %v, revision %d, want none and %d", records, err, s.Revision(), before)
	}
}

func TestRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, store.Options{Path: path})
	for i := range 5 {
		tx := change.Tx{Durability: change.Behind, Append: []change.Record{{Log: "journal", Data: fmt.Append(nil, i)}}}
		if _, err := s.Commit(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		from  int64
		limit int
		want  string
	}{{0, 10, "01234"}, {1, 2, "12"}, {-2, 10, "34"}, {-10, 1, "0"}, {5, 1, ""}, {0, 0, ""}} {
		got, err := s.Records("journal", tc.from, tc.limit)
		if err != nil {
			t.Fatal(err)
		}
		var joined string
		for _, r := range got {
			joined += string(r)
		}
		if joined != tc.want {
			t.Errorf("Records(%d, %d) = %s, want %s", tc.from, tc.limit, joined, tc.want)
		}
	}
	if got, err := s.Records("other", 0, 1); err != nil || got != nil {
		t.Errorf("records of an unwritten log = %v, %v", got, err)
	}
}

// Entries that are removed leave the indexes of the others as they are, also
// after the log is opened again.
func TestTrimmedRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, store.Options{Path: path})
	add := func(text string, keep int64) {
		t.Helper()
		if _, err := s.Commit(t.Context(), change.Tx{Append: []change.Record{{Log: "journal", Data: []byte(text), Keep: keep}}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		add(fmt.Sprint(i), 0)
	}
	add("5", 3)
	check := func(from int64, limit int, want string) {
		t.Helper()
		got, err := s.Records("journal", from, limit)
		if joined := string(bytes.Join(got, nil)); err != nil || joined != want {
			t.Errorf("Records(%d, %d) = %s, %v, want %s", from, limit, joined, err, want)
		}
	}
	check(0, 10, "345")
	check(4, 1, "4")
	check(-1, 1, "5")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, store.Options{Path: path})
	add("6", 1)
	check(0, 10, "6")
	check(6, 10, "6")
}

func TestClosed(t *testing.T) {
	s, err := store.Open(store.Options{Path: filepath.Join(t.TempDir(), "db")})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch(0)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() {
		_, err := w.Next(context.Background())
		waiting <- err
	}()
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := <-waiting; !errors.Is(err, store.ErrClosed) {
		t.Errorf("Next = %v, want ErrClosed", err)
	}
	if _, err := s.Commit(t.Context(), change.Tx{}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Commit = %v, want ErrClosed", err)
	}
	if _, err := s.Records("x", 0, 1); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Records = %v, want ErrClosed", err)
	}
}

// Files that cannot be used give errors that say so.
func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	s := open(t, store.Options{Path: path})
	for i := range 200 {
		commit(t, s, change.Behind, put(strconv.Itoa(i), strings.Repeat("v", 2000)))
	}
	_, err := store.Open(store.Options{Path: path, LockTimeout: time.Millisecond})
	if !errors.Is(err, file.ErrInUse) || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("locked: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(name string, change func(data []byte) []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, change(append([]byte(nil), good...)), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	newer := edit("newer", func(d []byte) []byte { return d })
	db, err := bolt.Open(newer, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("format"), []byte("99")) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	flipped := edit("flipped", func(d []byte) []byte {
		at := strings.Index(string(d[16*4096:]), "vvvvvvvv") + 16*4096
		d[at] ^= 1
		return d
	})
	for name, tc := range map[string]struct {
		path string
		want error
	}{
		"newer":     {newer, file.ErrNewer},
		"truncated": {edit("truncated", func(d []byte) []byte { return d[:40*4096] }), file.ErrDamaged},
		"short":     {edit("short", func(d []byte) []byte { return d[:100] }), file.ErrDamaged},
		"garbage":   {edit("garbage", func(d []byte) []byte { return []byte(strings.Repeat("garbage", 5000)) }), file.ErrDamaged},
		"flipped":   {flipped, file.ErrDamaged},
		"directory": {dir, nil},
	} {
		_, err := store.Open(store.Options{Path: tc.path})
		if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: error = %v, want %v", name, err, tc.want)
			continue
		}
		if !strings.Contains(err.Error(), tc.path) {
			t.Errorf("%s: error %q does not name the file", name, err)
		}
		t.Logf("%s: %v", name, err)
	}
}
