package syncer_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load/kustomize"
	"headway.dev/syncer"
	"headway.dev/syncer/internal/memstore"
)

func TestMain(m *testing.M) {
	kustomize.Main()
	goleak.VerifyTestMain(m)
}

// world is a store that a Syncer fills from a repository that the git program
// pushes to.
type world struct {
	t     testing.TB
	store *memstore.Store
	sync  *syncer.Syncer
	bare  string // the source
	work  string // a clone of it
	data  string
	// remote is the URL of the source over HTTP, if a test serves it.
	remote string
	local  map[string]string
	cfg    func(*syncer.Config)
	stop   func()
}

// newWorld makes a repository with one commit of files, and a source and a
// Kustomization named cluster for it. edit may change both before they are
// created.
func newWorld(tb testing.TB, files map[string]string, edit func(*sourcev1.GitRepository, *kustomizev1.Kustomization)) *world {
	tb.Helper()
	return newWorldWith(tb, files, edit, nil)
}

// newWorldWith is newWorld with a configuration of the Syncer.
func newWorldWith(tb testing.TB, files map[string]string, edit func(*sourcev1.GitRepository, *kustomizev1.Kustomization), cfg func(*syncer.Config)) *world {
	tb.Helper()
	w := &world{t: tb, cfg: cfg, store: memstore.New(), bare: filepath.Join(tb.TempDir(), "repo.git"), work: filepath.Join(tb.TempDir(), "work"), data: tb.TempDir()}
	git(tb, "", "init", "-q", "--bare", "-b", "main", w.bare)
	git(tb, "", "clone", "-q", w.bare, w.work)
	git(tb, w.work, "checkout", "-q", "-b", "main")
	w.write(files)
	w.push("first commit")
	for _, ns := range []string{"default", "headway-system"} {
		w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
	}
	src := &sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: "cluster"},
		Spec: sourcev1.GitRepositorySpec{
			URL: "file://" + w.bare, Interval: metav1.Duration{Duration: time.Hour}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		},
	}
	ks := &kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: "cluster"},
		Spec: kustomizev1.KustomizationSpec{
			Interval: metav1.Duration{Duration: time.Hour}, Path: "./", Prune: true,
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "cluster"},
		},
	}
	if edit != nil {
		edit(src, ks)
	}
	w.create(src)
	w.create(ks)
	w.local = map[string]string{"headway-system/cluster": w.bare}
	w.start()
	return w
}

// start runs a Syncer until the test or stop ends it.
func (w *world) start() {
	cfg := syncer.Config{Store: w.store, Kinds: w.store.Kinds(), DataDir: w.data, Local: w.local}
	if w.cfg != nil {
		w.cfg(&cfg)
	}
	w.sync = syncer.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.sync.Run(ctx)
	}()
	w.stop = func() {
		cancel()
		<-done
	}
	w.t.Cleanup(w.stop)
}

func git(tb testing.TB, dir string, args ...string) string {
	tb.Helper()
	cmd := exec.CommandContext(context.Background(), "git", append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		tb.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// write puts files into the clone; empty contents remove one.
func (w *world) write(files map[string]string) {
	w.t.Helper()
	for name, data := range files {
		path := filepath.Join(w.work, name)
		if data == "" {
			if err := os.Remove(path); err != nil {
				w.t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
}

// push commits everything, pushes it, and returns the commit.
func (w *world) push(subject string) string {
	w.t.Helper()
	git(w.t, w.work, "add", "-A")
	git(w.t, w.work, "commit", "-q", "--allow-empty", "-m", subject)
	git(w.t, w.work, "push", "-q", "origin", "HEAD:main")
	return git(w.t, w.work, "rev-parse", "HEAD")
}

func (w *world) commit(changes ...change.Change) {
	w.t.Helper()
	if _, err := w.store.Commit(context.Background(), change.Tx{Changes: changes}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(obj object.Object) {
	w.t.Helper()
	w.commit(change.Create(obj, time.Now()))
}

func key(kind, namespace, name string) object.Key {
	group := ""
	switch kind {
	case "Deployment":
		group = "apps"
	case "GitRepository":
		group = sourcev1.GroupVersion.Group
	case "Kustomization":
		group = kustomizev1.GroupVersion.Group
	}
	return object.Key{GroupKind: schema.GroupKind{Group: group, Kind: kind}, Namespace: namespace, Name: name}
}

// eventually waits for an effect, looking at it again and again.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within a minute: %s\nGitRepository: %s\nKustomization: %s", what, w.ready("GitRepository"), w.ready("Kustomization"))
		}
		<-time.After(5 * time.Millisecond)
	}
}

// await receives from a channel, as long as eventually waits.
func await[T any](tb testing.TB, what string, from <-chan T) (v T) {
	tb.Helper()
	select {
	case v = <-from:
	case <-time.After(time.Minute):
		tb.Fatalf("not within a minute: %s", what)
	}
	return v
}

func (w *world) ks() *kustomizev1.Kustomization {
	ks, ok := w.store.Get(key("Kustomization", "headway-system", "cluster")).(*kustomizev1.Kustomization)
	if !ok {
		return &kustomizev1.Kustomization{}
	}
	return ks
}

// ready is "status reason message" of the Ready condition of cluster.
func (w *world) ready(kind string) string {
	var list []metav1.Condition
	switch o := w.store.Get(key(kind, "headway-system", "cluster")).(type) {
	case *sourcev1.GitRepository:
		list = o.Status.Conditions
	case *kustomizev1.Kustomization:
		list = o.Status.Conditions
	}
	c := apimeta.FindStatusCondition(list, meta.ReadyCondition)
	if c == nil {
		return "no Ready condition"
	}
	return fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message)
}

func (w *world) applied(sha string) {
	w.t.Helper()
	want := "True ReconciliationSucceeded Applied revision: main@sha1:" + sha
	w.eventually(want, func() bool { return w.ready("Kustomization") == want })
}

func (w *world) configMap(name string) map[string]string {
	cm, ok := w.store.Get(key("ConfigMap", "default", name)).(*corev1.ConfigMap)
	if !ok {
		return nil
	}
	return cm.Data
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n  namespace: default\ndata:\n  key: %s\n", name, value)
}

func TestPushIsStored(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	first := git(t, w.work, "rev-parse", "HEAD")
	w.applied(first)
	if got := w.configMap("a")["key"]; got != "one" {
		t.Errorf("a.data.key = %q, want one", got)
	}
	want := "True Succeeded stored artifact for revision 'main@sha1:" + first + "'"
	w.eventually(want, func() bool { return w.ready("GitRepository") == want }) // the objects may be faster
	if inv := w.ks().Status.Inventory.Entries; len(inv) != 1 || inv[0].ID != "default_a__ConfigMap" || inv[0].Version != "v1" {
		t.Errorf("inventory = %+v", inv)
	}

	w.write(map[string]string{"a.yaml": configMap("a", "two"), "b.yaml": configMap("b", "new")})
	second := w.push("second")
	w.applied(second)
	if got := w.configMap("a")["key"] + w.configMap("b")["key"]; got != "twonew" {
		t.Errorf("after the second push: %q", got)
	}

	w.write(map[string]string{"b.yaml": ""})
	w.applied(w.push("remove b"))
	if w.configMap("b") != nil {
		t.Error("b is still there after its file was removed")
	}
}
