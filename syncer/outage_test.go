package syncer_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/wire"
)

// remote makes the source of a new world one behind HTTP, to be looked at
// often; its server is in the pointer once the world is made.
func remote(tb testing.TB, srv **gitserver.Server, edit func(*sourcev1.GitRepository)) func(*sourcev1.GitRepository, *kustomizev1.Kustomization) {
	tb.Helper()
	return func(src *sourcev1.GitRepository, _ *kustomizev1.Kustomization) {
		// The repository's path is in the URL that newWorld set.
		path := strings.TrimPrefix(src.Spec.URL, "file://")
		*srv = gitserver.New(tb, filepath.Dir(path))
		src.Spec.URL = (*srv).URL + "/" + filepath.Base(path)
		src.Spec.Interval = metav1.Duration{Duration: 100 * time.Millisecond}
		if edit != nil {
			edit(src)
		}
	}
}

// A remote source is mirrored, followed by interval, written to by a rollback;
// its outage is said and stops nothing, across a restart as well.
func TestRemote(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, remote(t, &srv, func(src *sourcev1.GitRepository) {
		src.Spec.SecretRef = &meta.LocalObjectReference{Name: "git"}
		srv.Require("ada", "secret")
	}))
	w.eventually("the secret is missed", func() bool { return strings.HasPrefix(w.ready("GitRepository"), "False AuthenticationFailed") })
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: "git"},
		Data:       map[string][]byte{"username": []byte("ada"), "password": []byte("secret")},
	})
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	second := w.push("second")
	w.applied(second)

	srv.Fail(gitserver.Status(http.StatusBadGateway, "down"))
	w.eventually("the outage is said", func() bool { return strings.Contains(w.ready("GitRepository"), "next try at") })
	if got := w.ready("GitRepository"); strings.Contains(got, "secret@") || !strings.Contains(got, "failing since") {
		t.Errorf("condition: %q", got)
	}
	w.stop()
	w.start()
	w.commit(change.Patch(key("ConfigMap", "default", "a"), func(o object.Object) bool {
		o.(*corev1.ConfigMap).Data["key"] = "by hand"
		return true
	}))
	w.eventually("drift is corrected from the mirror", func() bool { return w.configMap("a")["key"] == "two" })
	if got := w.ready("Kustomization"); !strings.HasPrefix(got, "True") {
		t.Errorf("the outage made the Kustomization %q", got)
	}
	srv.Fail(nil)
	var res wire.RollbackResult
	code, body := 0, ""
	w.eventually("the rollback is pushed", func() bool {
		code, body = w.call("rollback", wire.RollbackRequest{}, &res)
		return code == http.StatusOK
	})
	w.applied(res.Revert)
	if got := git(t, w.bare, "rev-parse", "main"); got != res.Revert || w.configMap("a")["key"] != "one" {
		t.Errorf("main is at %s, want %s; a = %v (%s)", got, res.Revert, w.configMap("a"), body)
	}
}

// A remote that does not answer keeps nothing else waiting.
func TestHangingRemote(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, remote(t, &srv, func(src *sourcev1.GitRepository) {
		src.Spec.Timeout = &metav1.Duration{Duration: 30 * time.Second}
	}))
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	asked, hang := make(chan struct{}), gitserver.Hang()
	var once sync.Once
	srv.Fail(gitserver.OnRefs(func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		once.Do(func() { close(asked) })
		hang(rw, r, next)
	}))
	await(t, "a fetch is under way", asked)
	w.commit(change.Patch(key("ConfigMap", "default", "a"), func(o object.Object) bool {
		o.(*corev1.ConfigMap).Data["key"] = "by hand"
		return true
	}))
	w.eventually("drift is corrected meanwhile", func() bool { return w.configMap("a")["key"] == "one" })
	if code, body := w.call("status", nil, nil); code != http.StatusOK {
		t.Errorf("status: %d %s", code, body)
	}
	timeout := func(d time.Duration) {
		w.commit(change.Patch(key("GitRepository", "headway-system", "cluster"), func(o object.Object) bool {
			o.(*sourcev1.GitRepository).Spec.Timeout = &metav1.Duration{Duration: d}
			return true
		}))
	}
	timeout(200 * time.Millisecond)
	w.stop()
	w.start()
	w.eventually("the timeout is said", func() bool { return strings.Contains(w.ready("GitRepository"), "no answer within spec.timeout") })
	srv.Fail(nil)
	timeout(30 * time.Second) // a good answer may take longer, too
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	w.applied(w.push("second"))
}

// A local repository that is moved away and comes back is watched again.
func TestLocalRepositoryIsReplaced(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	if err := os.Rename(w.bare, w.bare+".away"); err != nil {
		t.Fatal(err)
	}
	w.eventually("its absence is said", func() bool { return strings.HasPrefix(w.ready("GitRepository"), "False") })
	if got := w.ready("Kustomization"); !strings.HasPrefix(got, "True") {
		t.Errorf("the Kustomization is %q", got)
	}
	git(t, "", "clone", "-q", "--bare", w.bare+".away", w.bare)
	w.eventually("it is back", func() bool { return strings.HasPrefix(w.ready("GitRepository"), "True") })
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	w.applied(w.push("second"))
}

// A verdict that was pending at a stop is given after the start.
func TestRestartWhilePending(t *testing.T) {
	w := newWorld(t, map[string]string{"d.yaml": deployment("web:1")}, waitForHealth)
	first := git(t, w.work, "rev-parse", "HEAD")
	w.eventually("it is waited for", func() bool { return strings.HasPrefix(w.ready("Kustomization"), "Unknown Progressing") })
	w.stop()
	w.rollout()
	w.start()
	w.applied(first)
	if _, err := w.sync.VerifyJournal(); err != nil {
		t.Error(err)
	}
}

// Commits in quick succession end in the last one.
func TestQuickSuccession(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "0")}, nil)
	last := ""
	for _, v := range []string{"one", "two", "three", "four", "five"} {
		w.write(map[string]string{"a.yaml": configMap("a", v)})
		last = w.push(v)
	}
	w.applied(last)
	if got := w.configMap("a")["key"]; got != "five" {
		t.Errorf("a = %q, want five", got)
	}
}

// A kustomization with a base and an overlay is rendered; a change of the base
// changes only what depends on it.
func TestKustomize(t *testing.T) {
	w := newWorld(t, map[string]string{
		"base/kustomization.yaml":          "resources: [a.yaml, b.yaml]\n",
		"base/a.yaml":                      configMap("a", "base"),
		"base/b.yaml":                      configMap("b", "base"),
		"overlays/prod/kustomization.yaml": "resources: [../../base]\npatches:\n- patch: |\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: b, namespace: default}\n    data: {key: prod}\n",
	}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "./overlays/prod" })
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	if a, b := w.configMap("a")["key"], w.configMap("b")["key"]; a != "base" || b != "prod" {
		t.Errorf("a = %q, b = %q", a, b)
	}
	version := w.store.Get(key("ConfigMap", "default", "b")).GetResourceVersion()
	w.write(map[string]string{"base/a.yaml": configMap("a", "changed")})
	w.applied(w.push("change the base"))
	if got := w.configMap("a")["key"]; got != "changed" {
		t.Errorf("a = %q", got)
	}
	if got := w.store.Get(key("ConfigMap", "default", "b")).GetResourceVersion(); got != version {
		t.Error("b was written although nothing of it changed")
	}
	// A commit elsewhere writes no object.
	w.write(map[string]string{"README.md": "hello"})
	w.applied(w.push("readme"))
}
