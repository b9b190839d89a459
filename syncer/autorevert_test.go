package syncer_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/wire"
)

// onRemote is onFailure for a source that a server serves.
func onRemote(t *testing.T, mode string, srv **gitserver.Server) func(*sourcev1.GitRepository, *kustomizev1.Kustomization) {
	t.Helper()
	return func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		onFailure(mode)(src, ks)
		remote(t, srv, nil)(src, ks)
	}
}

// pushFails answers pushes with a status while it is not zero, and counts them.
type pushFails struct{ status, pushes atomic.Int32 }

func (f *pushFails) fault(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if r.URL.Query().Get("service") == "git-receive-pack" {
		f.pushes.Add(1)
		if code := int(f.status.Load()); code != 0 {
			http.Error(w, "not now", code)
			return
		}
	}
	next.ServeHTTP(w, r)
}

// A revert that cannot be pushed for now is tried again, also after a restart;
// until then the last good commit is what runs.
func TestRevertIsTriedAgain(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"d.yaml": deployment("web:1")}, onRemote(t, "revert", &srv))
	first := w.started()
	var push pushFails
	push.status.Store(http.StatusServiceUnavailable)
	srv.Fail(push.fault)
	w.write(map[string]string{"d.yaml": deployment("web:broken")})
	bad := w.push("break it")
	w.poke()
	w.eventually("it is applied", func() bool { return w.image() == "web:broken" })
	w.fail()
	w.eventually("the last good commit is back, and the push was tried twice", func() bool {
		return w.image() == "web:1" && strings.HasSuffix(w.ks().Status.LastAppliedRevision, first) && push.pushes.Load() >= 2
	})
	if got := w.ready("Kustomization"); !strings.Contains(got, "its revert failed and is tried again") || !strings.Contains(got, "503") {
		t.Errorf("Ready is %q", got)
	}
	w.rollout()
	w.restart()
	tried := push.pushes.Load()
	w.eventually("it is tried after the restart", func() bool { return push.pushes.Load() > tried })
	if got := git(t, w.bare, "rev-parse", "main"); got != bad {
		t.Fatalf("main is at %s", got)
	}
	push.status.Store(0)
	w.eventually("the commit is reverted", func() bool { return git(t, w.bare, "rev-parse", "main") != bad })
	message := git(t, w.bare, "log", "-1", "--format=%B", "main")
	if !strings.Contains(message, "This reverts commit "+bad+".") || !strings.Contains(message, "Deployment/default/web") || strings.Contains(message, "tried again") {
		t.Errorf("the revert says %q", message)
	}
	w.rollout()
	w.applied(git(t, w.bare, "rev-parse", "main"))
	if got := w.condition("headway.dev/Quarantined"); got != "" {
		t.Errorf("after the revert: %q", got)
	}
}

// A remote that refuses the push is not asked again, and the condition says
// that the rights are missing.
func TestRefusedRevertIsNotTriedAgain(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"d.yaml": deployment("web:1")}, onRemote(t, "revert", &srv))
	w.started()
	var push pushFails
	push.status.Store(http.StatusForbidden)
	srv.Fail(push.fault)
	w.write(map[string]string{"d.yaml": deployment("web:broken")})
	bad := w.push("break it")
	w.poke()
	w.eventually("it is applied", func() bool { return w.image() == "web:broken" })
	w.fail()
	w.eventually("the last good commit is back", func() bool { return w.image() == "web:1" })
	if got := w.ready("Kustomization"); !strings.Contains(got, "cannot be reverted: push to") || !strings.Contains(got, "check the credentials") {
		t.Errorf("Ready is %q", got)
	}
	w.restart()
	w.poke()
	w.annotate("Kustomization", "reconcile.fluxcd.io/requestedAt", "now")
	w.eventually("the request is handled", func() bool { return w.ks().Status.LastHandledReconcileAt == "now" })
	if n := push.pushes.Load(); n != 1 || git(t, w.bare, "rev-parse", "main") != bad {
		t.Errorf("the push was tried %d times", n)
	}
}

// The fourth failure within an hour is not reverted, whatever dates the
// commits have, and also after a restart.
func TestCapOfRevertsIgnoresDates(t *testing.T) {
	t.Setenv("GIT_COMMITTER_DATE", "2001-01-01T00:00:00Z")
	w := newWorld(t, map[string]string{"d.yaml": deployment("web:1")}, onFailure("revert"))
	w.started()
	for i, bad := range []string{"web:bad1", "web:bad2", "web:bad3"} {
		sha := w.deploy(bad, false)
		w.eventually(bad+" is reverted", func() bool {
			return w.image() == "web:1" && strings.Contains(git(t, w.bare, "log", "-1", "--format=%B", "main"), "This reverts commit "+sha)
		})
		w.rollout()
		w.applied(git(t, w.bare, "rev-parse", "main"))
		git(t, w.work, "pull", "-q", "--ff-only", "origin", "main")
		if i == 1 {
			w.restart()
		}
	}
	sha := w.deploy("web:bad4", false)
	w.eventually("the last good commit is back", func() bool { return w.image() == "web:1" })
	if got := w.condition("headway.dev/Quarantined"); !strings.Contains(got, "3 commits were reverted within the last hour") {
		t.Errorf("quarantined: %q", got)
	}
	if got := git(t, w.bare, "rev-parse", "main"); got != sha {
		t.Errorf("main is at %s, want it to stay at %s", got, sha)
	}
	log, err := w.sync.Log("", "", "", -1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range log {
		if e.Type == wire.EntryReverted {
			n++
		}
	}
	if n != 3 {
		t.Errorf("the journal has %d reverts, want 3", n)
	}
}

// A commit whose revert cannot be applied is not reverted again when something else
// is pushed: that would only undo what was pushed, and not mend anything.
func TestRevertIsNotRepeated(t *testing.T) {
	w := mono(t, map[string]string{
		"cluster/app.yaml": appOf("zero"), "app/web.yaml": deployment("good:0"), "app/x.yaml": configMap("x", "same"),
		"cluster/two.yaml": nested("two", "./two", ""), "two/keep.yaml": configMap("keep-two", "a"),
	})
	defer w.controller()()
	w.allSettled()
	push := func(said string, files map[string]string, remove ...string) string {
		for _, name := range remove {
			git(t, w.work, "rm", "-q", name)
		}
		w.write(files)
		return w.push(said)
	}
	push("copy x", map[string]string{"two/x.yaml": configMap("x", "same")})
	w.allSettled()
	if got := w.readyOf("two"); !strings.Contains(got, "is managed by the Kustomization headway-system/app") {
		t.Fatalf("two is %s", got)
	}
	bad := push("bad, and x moves", map[string]string{"app/web.yaml": deployment("bad:1")}, "app/x.yaml")
	w.eventually("it is reverted", func() bool { return git(t, w.bare, "rev-parse", "main") != bad })
	w.allSettled()
	refused := "is managed by the Kustomization headway-system/two: remove it from there first"
	if got := w.readyOf("app"); !strings.HasSuffix(got, refused) {
		t.Fatalf("app is %s after the revert", got)
	}
	revert := git(t, w.bare, "rev-parse", "main")
	git(t, w.work, "pull", "-q", "--ff-only", "origin", "main")
	other := push("another neighbour", map[string]string{"two/keep.yaml": configMap("keep-two", "b")})
	w.eventually("it is told why it is not reverted again", func() bool {
		return strings.Contains(w.conditionOf("app", "headway.dev/Quarantined"), "it is not reverted automatically, because commit "+revert+" takes it back already and is not applied yet; push a commit that mends it")
	})
	w.allSettled()
	if now := git(t, w.bare, "rev-parse", "main"); now != other {
		t.Fatalf("main moved to %s", git(t, w.bare, "log", "-1", now))
	}
	mended := push("mend it", map[string]string{"app/web.yaml": deployment("good:2")}, "app/x.yaml")
	w.eventually("the mended commit is applied", func() bool {
		return strings.HasSuffix(w.readyOf("app"), mended) && strings.HasPrefix(w.readyOf("app"), "True") && w.image() == "good:2"
	})
}
