package syncer_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/wire"
)

// onFailure makes a Kustomization that waits for health, and answers failures.
func onFailure(mode string) func(*sourcev1.GitRepository, *kustomizev1.Kustomization) {
	return func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		waitForHealth(src, ks)
		ks.Annotations = map[string]string{flux.OnFailure: mode}
	}
}

// onPath is edit for a Kustomization of a directory.
func onPath(path string, edit func(*sourcev1.GitRepository, *kustomizev1.Kustomization)) func(*sourcev1.GitRepository, *kustomizev1.Kustomization) {
	return func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		edit(src, ks)
		ks.Spec.Path = "./" + path
	}
}

func (w *world) image() string {
	d := w.deployment()
	if d == nil {
		return ""
	}
	return d.Spec.Template.Spec.Containers[0].Image
}

// deploy pushes an image, waits until it is applied, and makes it healthy or
// not.
func (w *world) deploy(image string, ok bool) string {
	w.t.Helper()
	w.write(map[string]string{"d.yaml": deployment(image)})
	sha := w.push("deploy " + image)
	w.eventually(image+" is applied", func() bool { return w.image() == image })
	if !ok {
		w.fail()
		return sha
	}
	w.rollout()
	w.applied(sha)
	return sha
}

// started waits for the first commit and makes it healthy.
func (w *world) started() string {
	w.t.Helper()
	w.eventually("it is stored", func() bool { return w.deployment() != nil })
	w.rollout()
	first := git(w.t, w.work, "rev-parse", "HEAD")
	w.applied(first)
	return first
}

// condition is "status message" of a condition of the Kustomization.
func (w *world) condition(typ string) string {
	c := apimeta.FindStatusCondition(w.ks().Status.Conditions, typ)
	if c == nil {
		return ""
	}
	return string(c.Status) + " " + c.Message
}

// times counts how often a commit was applied, as the journal has it.
func (w *world) times(sha string) int {
	w.t.Helper()
	log, err := w.sync.Log("", "", "", -1, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	n := 0
	for _, e := range log {
		if e.Type == wire.EntryApplied && strings.HasSuffix(e.Revision, sha) {
			n++
		}
	}
	return n
}

func (w *world) restart() {
	w.stop()
	w.start()
}

// on-failure: hold goes back to the last good commit, and stays there, also
// over a restart, until a newer commit comes or a person asks for another try.
func TestHold(t *testing.T) {
	w := newWorld(t, map[string]string{"d.yaml": deployment("web:1")}, onFailure("hold"))
	first := w.started()
	bad := w.deploy("web:broken", false)
	held := func() bool {
		return w.image() == "web:1" && strings.HasSuffix(w.ks().Status.LastAppliedRevision, first)
	}
	w.eventually("the last good commit is back", held)
	for _, want := range []string{"False HealthCheckFailed main@sha1:" + bad, "Deployment/default/web status: 'Failed'", "main@sha1:" + first + " stays applied until a newer commit comes"} {
		if got := w.ready("Kustomization"); !strings.Contains(got, want) {
			t.Errorf("Ready is %q, want %q in it", got, want)
		}
	}
	w.rollout()
	w.eventually("the last good commit is healthy again", func() bool { return w.condition("headway.dev/Verdict") == "True main@sha1:"+first })
	var st wire.Status
	w.call("status", nil, &st)
	k := st.Sources[0].Kustomizations[0]
	if k.Sync != wire.SyncFailed || len(k.Holds) != 1 || k.Holds[0].Kind != wire.GateQuarantine || k.Holds[0].Revision != "main@sha1:"+bad {
		t.Errorf("status: %s %+v", k.Sync, k.Holds)
	}
	w.restart()
	w.annotate("Kustomization", meta.ReconcileRequestAnnotation, "now")
	w.eventually("the request is handled", func() bool { return w.ks().Status.LastHandledReconcileAt == "now" })
	code, body := w.call("sync", wire.SyncRequest{Wait: true}, nil)
	if code != http.StatusOK || strings.Contains(body, `"ok":true`) || !strings.Contains(body, "stays applied until a newer commit comes") {
		t.Errorf("sync: %d %s", code, body)
	}
	if got := w.times(bad); got != 1 || !held() {
		t.Errorf("after a restart: the bad commit was applied %d times, the image is %s", got, w.image())
	}

	w.annotate("Kustomization", flux.Retry, bad)
	w.eventually("it is tried again", func() bool { return w.image() == "web:broken" })
	w.fail()
	w.eventually("it is held again", held)
	if got := w.times(bad); got != 2 {
		t.Errorf("the bad commit was applied %d times, want 2", got)
	}
	if _, there := w.ks().Annotations[flux.Retry]; there {
		t.Error("the annotation is still there")
	}

	w.deploy("web:3", true)
	if got := w.condition("headway.dev/Quarantined"); got != "" {
		t.Errorf("after a good commit: %q", got)
	}
	if _, err := w.sync.VerifyJournal(); err != nil {
		t.Error(err)
	}
}

// A rollback of what is held reverts the commit in quarantine.
func TestRollbackOfWhatIsHeld(t *testing.T) {
	w := newWorld(t, map[string]string{"d.yaml": deployment("web:1")}, onFailure("hold"))
	w.started()
	bad := w.deploy("web:broken", false)
	w.eventually("it is held", func() bool { return w.image() == "web:1" })
	w.rollout()
	var res wire.RollbackResult
	if code, body := w.call("rollback", wire.RollbackRequest{}, &res); code != http.StatusOK || res.Reverted != bad {
		t.Fatalf("rollback: %d %s, want it of %s", code, body, bad)
	}
	w.applied(res.Revert)
}

// none, the default, leaves a failed commit applied.
func TestFailureIsLeft(t *testing.T) {
	w := newWorld(t, map[string]string{"d.yaml": deployment("web:1")}, onFailure("none"))
	w.started()
	bad := w.deploy("web:broken", false)
	w.eventually("it failed", func() bool { return strings.HasPrefix(w.ready("Kustomization"), "False HealthCheckFailed") })
	if got := git(t, w.bare, "rev-parse", "main"); got != bad || w.image() != "web:broken" {
		t.Errorf("main is at %s, the image is %s", got, w.image())
	}
	// What is set later counts for what failed before.
	w.annotate("Kustomization", flux.OnFailure, "hold")
	w.eventually("the last good commit is back", func() bool { return w.image() == "web:1" })
}

// A commit that failed while nobody looked is reverted after the start.
func TestRevertAfterRestart(t *testing.T) {
	w := newWorld(t, map[string]string{"d.yaml": deployment("web:1")}, onFailure("revert"))
	w.started()
	w.write(map[string]string{"d.yaml": deployment("web:broken")})
	bad := w.push("break it")
	w.eventually("it is judged", func() bool { return w.condition("headway.dev/Verdict") == "Unknown main@sha1:"+bad })
	w.stop()
	w.fail()
	w.start()
	w.eventually("it is reverted", func() bool { return w.image() == "web:1" })
	if got := git(t, w.bare, "log", "-1", "--format=%B", "main"); !strings.Contains(got, "This reverts commit "+bad) || !strings.Contains(got, "Deployment/default/web") {
		t.Errorf("message of the revert: %q", got)
	}
	w.rollout()
	w.applied(git(t, w.bare, "rev-parse", "main"))
}

// What was not healthy before a commit is not its fault.
func TestNoRevertOfTheInnocent(t *testing.T) {
	w := newWorld(t, map[string]string{"d.yaml": deployment("web:1"), "a.yaml": configMap("a", "one")}, onFailure("revert"))
	w.started()
	w.fail() // all by itself
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	sha := w.push("change a")
	w.eventually("the verdict is given", func() bool { return w.condition("headway.dev/Verdict") == "False main@sha1:"+sha })
	w.annotate("Kustomization", meta.ReconcileRequestAnnotation, "now")
	w.eventually("the request is handled", func() bool { return w.ks().Status.LastHandledReconcileAt == "now" })
	if got := git(t, w.bare, "rev-parse", "main"); got != sha || w.configMap("a")["key"] != "two" {
		t.Errorf("main is at %s, a = %v", got, w.configMap("a"))
	}
}

// A commit that cannot be reverted is gone back from all the same: if the
// branch lost what was good, and without the right to push.
func TestRevertThatFailsHolds(t *testing.T) {
	t.Run("rewritten", func(t *testing.T) {
		w := newWorld(t, map[string]string{"d.yaml": deployment("web:1")}, onFailure("revert"))
		root := git(t, w.work, "rev-parse", "HEAD")
		w.started()
		good := w.deploy("web:2", true)
		git(t, w.work, "reset", "-q", "--hard", root)
		w.write(map[string]string{"d.yaml": deployment("web:broken")})
		git(t, w.work, "commit", "-q", "-a", "-m", "break it")
		bad := git(t, w.work, "rev-parse", "HEAD")
		git(t, w.work, "push", "-q", "--force", "origin", "HEAD:main")
		w.eventually("it stops", func() bool { return strings.HasPrefix(w.ready("GitRepository"), "False HistoryRewritten") })
		w.annotate("GitRepository", flux.AcceptHistory, bad)
		w.eventually("it is applied", func() bool { return w.image() == "web:broken" })
		w.fail()
		w.eventually("the last good commit is back", func() bool { return w.image() == "web:2" })
		if got := w.ks().Status.LastAppliedRevision; got != "main@sha1:"+good {
			t.Errorf("applied is %s, want %s", got, good)
		}
		if got := w.condition("headway.dev/Quarantined"); !strings.Contains(got, "not what was healthy before it") {
			t.Errorf("quarantined: %q", got)
		}
		if got := git(t, w.bare, "rev-parse", "main"); got != bad {
			t.Errorf("main moved to %s", got)
		}
	})
	t.Run("push", func(t *testing.T) {
		var srv *gitserver.Server
		w := newWorld(t, map[string]string{"d.yaml": deployment("web:1")}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
			onFailure("revert")(src, ks)
			remote(t, &srv, nil)(src, ks)
		})
		first := w.started()
		w.write(map[string]string{"d.yaml": deployment("web:broken")})
		bad := w.push("break it")
		hook := filepath.Join(w.bare, "hooks", "pre-receive")
		if err := os.WriteFile(hook, []byte("#!/bin/sh\necho you may only read >&2\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		w.eventually("it is applied", func() bool { return w.image() == "web:broken" })
		w.fail()
		w.eventually("the last good commit is back", func() bool { return w.image() == "web:1" })
		if got := w.ready("Kustomization"); !strings.Contains(got, "cannot be reverted") || !strings.Contains(got, "revert it by hand") {
			t.Errorf("Ready is %q", got)
		}
		w.restart()
		w.eventually("it is still held", func() bool {
			return strings.HasPrefix(w.ready("Kustomization"), "False HealthCheckFailed main@sha1:"+bad)
		})
		if got := git(t, w.bare, "rev-parse", "main"); got != bad || w.times(bad) != 1 || w.times(first) != 2 {
			t.Errorf("main is at %s; the bad commit was applied %d times, the good one %d", got, w.times(bad), w.times(first))
		}
	})
}

// An accepted history is accepted once: the annotation is gone with it.
func TestAcceptanceIsConsumed(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	first := git(t, w.work, "rev-parse", "HEAD")
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	second := w.push("second")
	w.applied(second)
	git(t, w.work, "push", "-q", "--force", "origin", first+":main")
	w.eventually("it stops", func() bool { return strings.HasPrefix(w.ready("GitRepository"), "False HistoryRewritten") })
	w.annotate("GitRepository", flux.AcceptHistory, first)
	w.applied(first)
	w.eventually("the annotation is gone", func() bool {
		return w.store.Get(key("GitRepository", "headway-system", "cluster")).GetAnnotations()[flux.AcceptHistory] == ""
	})
	w.restart()
	w.write(map[string]string{"a.yaml": configMap("a", "three")})
	git(t, w.work, "reset", "-q", "--hard", first)
	w.write(map[string]string{"a.yaml": configMap("a", "three")})
	third := w.push("third")
	w.applied(third)
	git(t, w.work, "push", "-q", "--force", "origin", first+":main")
	w.eventually("the same commit stops again", func() bool { return strings.HasPrefix(w.ready("GitRepository"), "False HistoryRewritten") })
	if got := w.configMap("a")["key"]; got != "three" {
		t.Errorf("a = %q", got)
	}
}
