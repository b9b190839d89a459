package syncer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
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
	"headway.dev/syncer"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/wire"
)

// hostileHost serves the repositories below root, and some that are made up.
func hostileHost(tb testing.TB, root string) string {
	tb.Helper()
	srv := gitserver.New(tb, root)
	sha := strings.Repeat("1", 40)
	huge := gitserver.Entry{Type: gitserver.Blob, Size: 5 << 30, Packed: gitserver.Deflate([]byte("x"))}
	faults := map[string]gitserver.Fault{
		"/hangs.git/": gitserver.Hang(),
		"/trickles.git/": func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			gitserver.Dribble(50*time.Millisecond)(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				gitserver.Answer(gitserver.Refs(sha, "refs/heads/main", sha, "refs/heads/"+strings.Repeat("x", 50_000)))(w, r, nil)
			}))
		},
		"/garbage.git/": gitserver.Answer([]byte("\x1b[2Jgarbage")),
		"/huge.git/":    gitserver.Serve(gitserver.Refs(sha, "refs/heads/main"), gitserver.PackAnswer(gitserver.Pack(huge), "")),
	}
	srv.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		for prefix, fault := range faults {
			if strings.HasPrefix(r.URL.Path, prefix) {
				fault(w, r, next)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
	return srv.URL
}

// statusOf is "status reason message" of an object's Ready condition.
func (w *world) statusOf(kind, name string) string {
	var list []metav1.Condition
	switch o := w.store.Get(key(kind, "headway-system", name)).(type) {
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

// add creates a Kustomization for a directory, and a source for it if there is
// one in edit.
func (w *world) add(name, dir string, p poison) {
	w.t.Helper()
	ks := &kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: name},
		Spec: kustomizev1.KustomizationSpec{
			Interval: metav1.Duration{Duration: time.Hour}, Path: dir, Prune: true,
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "cluster"},
		},
	}
	if p.source != nil {
		src := &sourcev1.GitRepository{
			ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: name},
			Spec: sourcev1.GitRepositorySpec{
				URL: w.remote, Interval: metav1.Duration{Duration: time.Hour}, Timeout: &metav1.Duration{Duration: time.Hour},
				Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
			},
		}
		p.source(src)
		ks.Spec.SourceRef.Name = name
		w.create(src)
	}
	if p.edit != nil {
		p.edit(ks)
	}
	w.create(ks)
}

// explains waits, not for longer than the deadline, until a poison says what is
// wrong with it.
func (w *world) explains(name string, p poison, deadline time.Time) {
	w.t.Helper()
	kind := "Kustomization"
	if p.source != nil {
		kind = "GitRepository"
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	// From before the first look on.
	changes, err := w.store.Watch(0, key(kind, "", "").GroupKind)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() {
		cancel()
		_, _ = changes.Next(ctx) // ends it
	}()
	for {
		got := w.statusOf(kind, name)
		ok := strings.HasPrefix(got, p.wants[0])
		for _, want := range p.wants {
			ok = ok && strings.Contains(got, want)
		}
		if ok {
			return
		}
		if _, err := changes.Next(ctx); err != nil {
			w.t.Errorf("%s %s: Ready is %.300q, want %q", kind, name, got, p.wants)
			return
		}
	}
}

// journalled reports whether the journal has it that a Kustomization applied a
// commit.
func (w *world) journalled(kustomization, commit string) bool {
	w.t.Helper()
	records, err := w.store.Records("journal", 0, 1<<20)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range records {
		var e wire.Entry
		if err := json.Unmarshal(r, &e); err != nil {
			w.t.Fatal(err)
		}
		if e.Type == wire.EntryApplied && e.Kustomization == kustomization && strings.HasSuffix(e.Revision, commit) {
			return true
		}
	}
	return false
}

// forget takes the conditions from everything, as if nothing had been said.
func (w *world) forget() {
	w.t.Helper()
	for _, kind := range []string{"GitRepository", "Kustomization"} {
		list, _ := w.store.List(key(kind, "", "").GroupKind, "")
		for _, o := range list {
			w.commit(change.PatchStatus(key(kind, o.GetNamespace(), o.GetName()), func(o object.Object) bool {
				switch o := o.(type) {
				case *sourcev1.GitRepository:
					o.Status.Conditions = nil
				case *kustomizev1.Kustomization:
					o.Status.Conditions = nil
				}
				return true
			}))
		}
	}
}

// poisonCopies is how many Kustomizations besides the table's are broken.
const poisonCopies = 120

// Whatever is wrong with one Kustomization or source, it says so, and delays
// no other: neither one that follows the same source nor one whose source is
// on the same host as hostile ones, neither before a restart nor after it.
func TestPoisonDelaysNobody(t *testing.T) {
	files := map[string]string{"good/a.yaml": configMap("good", "one"), "good/gone.yaml": configMap("removed-later", "x"), "remote/b.yaml": configMap("far", "one")}
	var list map[string]poison
	w := newWorldWith(t, files, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "./good" }, func(c *syncer.Config) {
		if s, ok := c.Store.(*memstore.Store); ok {
			c.Store = explodingStore{s}
		}
	})
	host := hostileHost(t, filepath.Dir(w.bare))
	t.Cleanup(func() { w.stop() }) // before the server, which waits for its clients
	w.remote = host + "/repo.git"
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.create(secret("garbage", map[string]string{"x.agekey": "AGE-SECRET-KEY-1GARBAGE"}))
	w.add("far", "./remote", poison{source: func(*sourcev1.GitRepository) {}})

	list = poisons(t, host, gitserver.Dead(t), gitserver.Refused(t))
	for name, p := range list {
		for file, data := range p.files {
			w.write(map[string]string{"poison/" + name + "/" + file: data})
		}
	}
	w.push("poison")
	for name, p := range list {
		w.add(name, "./poison/"+name, p)
	}
	names := []string{"missing-base", "alias-bomb", "max-deletes"}
	for i := range poisonCopies {
		name := names[i%len(names)]
		w.add(fmt.Sprintf("copy-%d", i), "./poison/"+name, list[name])
	}
	tellAll := func() {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for name, p := range list {
			w.explains(name, p, deadline)
		}
		for i := range poisonCopies {
			w.explains(fmt.Sprintf("copy-%d", i), list[names[i%len(names)]], deadline)
		}
	}
	// deploy pushes a change of the good ones, and waits until it is there.
	deploy := func(value string) {
		t.Helper()
		began := time.Now()
		w.write(map[string]string{"good/a.yaml": configMap("good", value), "remote/b.yaml": configMap("far", value)})
		sha := w.push(value)
		w.commit(change.Patch(key("GitRepository", "headway-system", "far"), func(o object.Object) bool {
			o.SetAnnotations(map[string]string{meta.ReconcileRequestAnnotation: value})
			return true
		}))
		for name, cm := range map[string]string{"cluster": "good", "far": "far"} {
			w.eventually("the commit "+value+" is applied by "+name, func() bool {
				return w.configMap(cm)["key"] == value && w.journalled("headway-system/"+name, sha)
			})
		}
		t.Logf("%s: applied after %s", value, time.Since(began))
	}
	tellAll()
	deploy("two")
	// What is deleted is looked for in all others, which cannot be rendered.
	w.write(map[string]string{"good/gone.yaml": ""})
	deploy("three")
	w.eventually("the removed object is gone", func() bool { return w.configMap("removed-later") == nil })

	w.stop()
	w.forget()
	w.start()
	deploy("four")
	tellAll()
	deploy("five")
	if w.configMap("innocent") != nil {
		t.Error("an object of a Kustomization that is refused was applied")
	}
	if n, err := w.sync.VerifyJournal(); err != nil || n == 0 {
		t.Errorf("journal of %d entries: %v", n, err)
	}
}

// A write by hand whose Git server never answers keeps no write to another
// source waiting.
func TestHangingWriteDelaysNoOther(t *testing.T) {
	w := newWorld(t, map[string]string{"good/a.yaml": configMap("good", "one"), "remote/b.yaml": configMap("far", "one")}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Spec.Path = "./good"
		ks.Annotations = map[string]string{flux.GitWrites: "commit"}
	})
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	srv := gitserver.New(t, filepath.Dir(w.bare))
	t.Cleanup(w.stop)
	w.remote = srv.URL + "/repo.git"
	w.add("far", "./remote", poison{source: func(*sourcev1.GitRepository) {}, edit: annotated(flux.GitWrites, "commit")})
	w.eventually("far is applied", func() bool {
		return w.configMap("far") != nil && strings.HasPrefix(w.statusOf("Kustomization", "far"), "True")
	})
	asked := make(chan struct{}, 10)
	hang := gitserver.Hang()
	srv.Fail(func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		asked <- struct{}{}
		hang(rw, r, next)
	})
	write := func(ctx context.Context, name string) error {
		old := w.store.Get(key("ConfigMap", "default", name))
		next, _ := old.DeepCopyObject().(object.Object)
		next.SetLabels(map[string]string{"by": "hand"})
		maps.Copy(next.GetLabels(), old.GetLabels())
		carryOut, err := w.sync.Review(ctx, change.Request{User: "ada", Old: old, Next: next})
		if err != nil {
			return err
		}
		if carryOut == nil {
			return fmt.Errorf("the write to %s is not taken for one to Git", name)
		}
		_, err = carryOut(ctx)
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	hung := make(chan error, 1)
	go func() { hung <- write(ctx, "far") }()
	select {
	case <-asked:
	case err := <-hung:
		t.Fatalf("the write whose server hangs: %v", err)
	}
	if err := write(t.Context(), "good"); err != nil {
		t.Errorf("the other write: %v", err)
	}
	if got := git(t, w.bare, "log", "-1", "--format=%an", "main"); got != "ada" {
		t.Errorf("the newest commit is by %q, want ada", got)
	}
	select {
	case err := <-hung:
		t.Errorf("the write whose server hangs has ended: %v", err)
	default:
	}
	cancel()
	if err := <-hung; err == nil {
		t.Error("the write whose server hangs succeeded")
	}
}
