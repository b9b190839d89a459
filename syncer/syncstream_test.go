package syncer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/wire"
)

// A sync that waits tells of the look that it asked for before it ends, however
// late that is told.
func TestSyncTellsTheLook(t *testing.T) {
	var news atomic.Bool
	ended := make(chan bool)
	w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "one")}, nil, func(c *syncer.Config) {
		c.Progress = func(ev wire.Event) {
			if ev.Phase == wire.PhaseFetch && ev.Source == "default/remote" && news.Load() {
				select {
				case <-ended:
				case <-time.After(3 * time.Second): // a sync looks each second whether it is done
				}
			}
		}
	})
	meta := metav1.ObjectMeta{Namespace: "default", Name: "remote"}
	w.create(&sourcev1.GitRepository{ObjectMeta: meta, Spec: sourcev1.GitRepositorySpec{
		URL: gitserver.New(t, filepath.Dir(w.bare)).URL + "/" + filepath.Base(w.bare), Interval: metav1.Duration{Duration: time.Hour},
		Reference: &sourcev1.GitRepositoryRef{Branch: "other"},
	}})
	w.create(&kustomizev1.Kustomization{ObjectMeta: meta, Spec: kustomizev1.KustomizationSpec{
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "remote"},
		Path:      "./", Interval: metav1.Duration{Duration: time.Hour},
	}})
	w.branch("other", map[string]string{"a.yaml": configMap("b", "one")})
	w.eventually("the source has a loop", func() bool {
		return w.sync.Sync(t.Context(), wire.SyncRequest{Source: "default/remote"}, func(wire.Event) error { return nil }) == nil
	})
	sync := func() (events []wire.Event) {
		t.Helper()
		err := w.sync.Sync(t.Context(), wire.SyncRequest{Source: "default/remote", Wait: true}, func(ev wire.Event) error {
			events = append(events, ev)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return events
	}
	w.eventually("the remote is there", func() bool { last := sync(); return last[len(last)-1].OK })
	news.Store(true)
	git(t, w.work, "checkout", "-q", "other")
	w.write(map[string]string{"README.md": "Nothing to apply.\n"})
	git(t, w.work, "add", ".")
	git(t, w.work, "commit", "-q", "-m", "words")
	git(t, w.work, "push", "-q", "origin", "other")
	sha := git(t, w.work, "rev-parse", "HEAD")
	events := sync()
	close(ended)
	for _, ev := range events {
		if ev.Phase == wire.PhaseFetch && ev.Commit != nil && ev.Commit.SHA == sha {
			return
		}
	}
	t.Errorf("the commit is not told of: %+v", events)
}

// syncOnly may have everything synced, and reads nothing in the namespace other.
type syncOnly struct{ viewer }

// Allowed implements syncer.Access.
func (syncOnly) Allowed(_ context.Context, user rights.User, verb string, key object.Key) error {
	if user.Name == "ci" && (verb == "sync" || verb == "get" && key.Namespace != "other") {
		return nil
	}
	return fmt.Errorf("%s is forbidden", key.Name)
}

// A sync that waits tells what came of what was pushed before it was asked for, also if
// a look from before the push is still under way.
func TestSyncLooksAfterAPush(t *testing.T) {
	var hold atomic.Bool
	held, let := make(chan bool), make(chan bool)
	w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "one")}, nil, func(c *syncer.Config) {
		c.Progress = func(ev wire.Event) {
			if ev.Phase == wire.PhaseFetch && hold.CompareAndSwap(true, false) {
				close(held)
				<-let
			}
		}
	})
	w.applied(w.main())
	hold.Store(true)
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	w.push("before the look")
	<-held
	w.write(map[string]string{"a.yaml": configMap("a", "three")})
	sha := w.push("after it")
	time.AfterFunc(300*time.Millisecond, func() { close(let) }) // the sync has begun by then, most likely
	var last wire.Event
	err := w.sync.Sync(t.Context(), wire.SyncRequest{Wait: true}, func(ev wire.Event) error {
		last = ev
		return nil
	})
	if err != nil || !last.OK || last.Revision != "main@sha1:"+sha || w.configMap("a")["key"] != "three" {
		t.Errorf("the sync ends with %+v, %v, and a is %v", last, err, w.configMap("a"))
	}
}

// A sync names no Kustomization that its caller may not read, and says that one
// failed.
func TestSyncHidesKustomizations(t *testing.T) {
	w := newWorldWith(t, map[string]string{"apps/a.yaml": configMap("a", "one"), "secret/b.yaml": configMap("b", "one")},
		func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "./apps" },
		func(c *syncer.Config) { c.Access = syncOnly{} })
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}})
	w.create(&kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "covert"},
		Spec: kustomizev1.KustomizationSpec{
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Namespace: "headway-system", Name: "cluster"},
			Path:      "./secret", Interval: metav1.Duration{Duration: time.Hour},
		},
	})
	w.eventually("both are applied", func() bool { return w.configMap("a")["key"] == "one" && w.configMap("b")["key"] == "one" })
	sync := func() (string, wire.Event) {
		t.Helper()
		var events []wire.Event
		err := w.sync.Sync(rights.WithUser(t.Context(), rights.User{Name: "ci"}), wire.SyncRequest{Wait: true}, func(ev wire.Event) error {
			events = append(events, ev)
			return nil
		})
		if err != nil || len(events) == 0 {
			t.Fatalf("sync: %v, %d events", err, len(events))
		}
		raw, err := json.Marshal(events)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw), events[len(events)-1]
	}
	w.write(map[string]string{"apps/a.yaml": configMap("a", "two"), "secret/b.yaml": configMap("b", "two")})
	w.push("both")
	out, last := sync()
	if !last.OK || !strings.Contains(out, "headway-system/cluster") || strings.Contains(out, "covert") {
		t.Errorf("a sync of two, one of them hidden: %s", out)
	}
	w.write(map[string]string{"secret/b.yaml": "no: object\n"})
	w.push("broken")
	out, last = sync()
	if last.OK || last.Message != "a Kustomization failed that you may not read" || strings.Contains(out, "covert") || strings.Contains(out, "b.yaml") {
		t.Errorf("a sync with a hidden fault: %s", out)
	}
}
