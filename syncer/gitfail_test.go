package syncer_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	headwaygit "headway.dev/syncer/git"
	"headway.dev/syncer/internal/gitserver"
)

// defended edits what is applied by hand, and waits until it is as the last
// commit had it: what runs is looked after while Git is not there.
func (w *world) defended(value string) {
	w.t.Helper()
	w.commit(change.Patch(key("ConfigMap", "default", "a"), func(o object.Object) bool {
		o.(*corev1.ConfigMap).Data["key"] = "by hand"
		return true
	}))
	w.eventually("the edit by hand is put back to "+value, func() bool { return w.configMap("a")["key"] == value })
	if got := w.ready("Kustomization"); !strings.HasPrefix(got, "True") {
		w.t.Errorf("the Kustomization is %q", got)
	}
}

// poke makes the source be looked at now, in spite of its back-off.
func (w *world) poke() {
	w.annotate("GitRepository", "reconcile.fluxcd.io/requestedAt", time.Now().String())
}

// Whatever a remote does, what runs stays and is defended, the condition says
// what is wrong, and the next commit is applied once the remote is well again.
func TestRemoteFailures(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "zero")}, remote(t, &srv, func(src *sourcev1.GitRepository) {
		src.Spec.Timeout = &metav1.Duration{Duration: 10 * time.Second}
	}))
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	value := "zero"
	for _, c := range []struct {
		name, want string
		fault      gitserver.Fault
	}{
		{"truncated pack", "unexpected EOF", gitserver.OnPack(gitserver.Truncate())},
		{"corrupt pack", "fetch http", gitserver.OnPack(gitserver.Corrupt())},
		{"server error", "unexpected status 500", gitserver.Status(http.StatusInternalServerError, "oops")},
		{"expired", "check the credentials in the secret of spec.secretRef", gitserver.Status(http.StatusForbidden, "expired")},
		{"incomplete", "did not send", gitserver.OnPack(gitserver.Answer(gitserver.PackAnswer(gitserver.Pack(), "")))},
	} {
		srv.Fail(c.fault)
		w.write(map[string]string{"a.yaml": configMap("a", c.name)})
		sha := w.push(c.name)
		w.poke()
		w.eventually(c.name+" is said", func() bool {
			got := w.ready("GitRepository")
			return strings.HasPrefix(got, "False GitOperationFailed") && strings.Contains(got, c.want) && strings.Contains(got, "next try at")
		})
		w.defended(value)
		srv.Fail(nil)
		w.poke()
		w.applied(sha)
		value = c.name
	}
	// One that dribbles is left when spec.timeout is over.
	srv.Fail(gitserver.OnRefs(gitserver.Dribble(time.Second)))
	w.commit(change.Patch(key("GitRepository", "headway-system", "cluster"), func(o object.Object) bool {
		o.(*sourcev1.GitRepository).Spec.Timeout = &metav1.Duration{Duration: 300 * time.Millisecond}
		return true
	}))
	w.eventually("the timeout is said", func() bool { return strings.Contains(w.ready("GitRepository"), "no answer within spec.timeout") })
	w.defended(value)
}

// Credentials that worked and do no more are told of, and a new Secret is
// tried at once.
func TestCredentialsExpire(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, remote(t, &srv, func(src *sourcev1.GitRepository) {
		srv.Require("ada", "old-password")
		src.Spec.SecretRef = &meta.LocalObjectReference{Name: "git"}
	}))
	secret := func(password string) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: "git"},
			Data:       map[string][]byte{"username": []byte("ada"), "password": []byte(password)},
		}
	}
	w.create(secret("old-password"))
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	srv.Require("ada", "new-password")
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	second := w.push("second")
	w.eventually("it is said", func() bool {
		return strings.Contains(w.ready("GitRepository"), "check the credentials in the secret of spec.secretRef")
	})
	if got := w.ready("GitRepository"); strings.Contains(got, "password") {
		t.Errorf("the condition tells the password: %q", got)
	}
	w.defended("one")
	w.commit(change.Patch(key("Secret", "headway-system", "git"), func(o object.Object) bool {
		o.(*corev1.Secret).Data["password"] = []byte("new-password")
		return true
	}))
	w.applied(second)
}

// A branch that was rewritten on a remote is quarantined until its new head
// is accepted: across restarts, and for each new head anew.
func TestRemoteForcePush(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, remote(t, &srv, nil))
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	rewrite := func(value string) string {
		w.write(map[string]string{"a.yaml": configMap("a", value)})
		git(t, w.work, "commit", "-q", "-a", "--amend", "-m", value)
		git(t, w.work, "push", "-q", "--force", "origin", "HEAD:main")
		return git(t, w.work, "rev-parse", "HEAD")
	}
	quarantined := func(sha string) func() bool {
		return func() bool {
			got := w.ready("GitRepository")
			return strings.HasPrefix(got, "False HistoryRewritten") && strings.Contains(got, "headway.dev/accept-history="+sha)
		}
	}
	second := rewrite("two")
	w.eventually("the second is quarantined", quarantined(second))
	w.defended("one")
	w.stop()
	w.start()
	w.eventually("and after a restart", quarantined(second))
	w.defended("one")
	third := rewrite("three")
	w.annotate("GitRepository", "headway.dev/accept-history", second)
	w.eventually("what was accepted is not what is there", quarantined(third))
	w.defended("one")
	w.annotate("GitRepository", "headway.dev/accept-history", third)
	w.applied(third)
	w.write(map[string]string{"a.yaml": configMap("a", "four")})
	w.applied(w.push("four, on top of it"))
}

// A branch that is deleted, and a repository that is replaced by an empty
// one, delete nothing.
func TestBranchAndRepositoryVanish(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, remote(t, &srv, nil))
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	git(t, w.bare, "config", "receive.denyDeleteCurrent", "ignore")
	git(t, w.work, "push", "-q", "origin", "HEAD:refs/heads/other", ":main")
	w.eventually("the branch is missed", func() bool {
		return strings.Contains(w.ready("GitRepository"), `couldn't find remote ref "refs/heads/main": the branches are other`)
	})
	w.defended("one")
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	w.applied(w.push("it is back"))

	if err := os.Rename(w.bare, w.bare+".away"); err != nil {
		t.Fatal(err)
	}
	w.eventually("the repository is missed", func() bool { return strings.Contains(w.ready("GitRepository"), "repository not found") })
	git(t, "", "init", "-q", "--bare", "-b", "main", w.bare)
	w.poke()
	w.eventually("it is empty", func() bool { return strings.Contains(w.ready("GitRepository"), "has no commits yet") })
	w.defended("two")
	// Another history is a rewritten one, also in a new repository.
	git(t, w.work, "checkout", "-q", "--orphan", "fresh")
	w.write(map[string]string{"a.yaml": configMap("a", "three")})
	fresh := w.push("a new beginning")
	w.poke()
	w.eventually("the new beginning is quarantined", func() bool { return strings.HasPrefix(w.ready("GitRepository"), "False HistoryRewritten") })
	w.annotate("GitRepository", "headway.dev/accept-history", fresh)
	w.applied(fresh)
}

// Wrong clocks of those who commit change nothing: a commit is after its
// parents, whenever it says it was made.
func TestCommitDates(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "now")}, remote(t, &srv, nil))
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	for _, date := range []string{"2037-01-01T00:00:00Z", "1971-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "1999-01-01T00:00:00Z"} {
		t.Setenv("GIT_COMMITTER_DATE", date)
		t.Setenv("GIT_AUTHOR_DATE", date)
		w.write(map[string]string{"a.yaml": configMap("a", "year-"+date[:4])})
		w.applied(w.push(date))
		if got := w.configMap("a")["key"]; got != "year-"+date[:4] {
			t.Errorf("a = %q, want year-%s", got, date[:4])
		}
	}
}

// Of commits in quick succession the newest wins, and the remote is asked for
// what is new alone.
func TestRemoteQuickSuccession(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "none")}, remote(t, &srv, func(src *sourcev1.GitRepository) {
		src.Spec.Interval = metav1.Duration{Duration: time.Hour}
	}))
	first := git(t, w.work, "rev-parse", "HEAD")
	w.applied(first)
	var looks, fetches atomic.Int32
	var asked atomic.Value // the last request for a pack
	pushed := make(chan struct{})
	release := sync.OnceFunc(func() { close(pushed) })
	defer release()
	srv.Fail(func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Query().Get("service") == "git-upload-pack" {
			looks.Add(1)
			<-pushed
		} else if strings.HasSuffix(r.URL.Path, "/git-upload-pack") {
			body, _ := io.ReadAll(r.Body)
			asked.Store(string(body))
			fetches.Add(1)
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		next.ServeHTTP(rw, r)
	})
	last := ""
	for _, v := range []string{"one", "two", "three"} {
		w.write(map[string]string{"a.yaml": configMap("a", v)})
		last = w.push(v)
		w.poke()
		w.eventually("the remote is looked at", func() bool { return looks.Load() > 0 })
	}
	release()
	w.applied(last)
	if got := w.configMap("a")["key"]; got != "three" {
		t.Errorf("a = %q, want three", got)
	}
	before := looks.Load()
	w.poke()
	w.eventually("the remote is looked at again", func() bool { return looks.Load() > before })
	if n := fetches.Load(); n != 1 {
		t.Errorf("the remote was asked for a pack %d times, want once", n)
	}
	if text, _ := asked.Load().(string); !strings.Contains(text, "want "+last) || !strings.Contains(text, "have "+first) {
		t.Errorf("the remote was asked for %q, want %s of who has %s", text, last, first)
	}
}

// A GitRepository that names files of the machine, a program or an option is
// refused, and reads nothing.
func TestSourceURLs(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	for name, url := range map[string]string{
		"file": "file://" + w.bare, "path": w.bare, "ext": "ext::sh -c id", "fd": "fd::17", "option": "--upload-pack=id", "host": "ssh://-oProxyCommand=id/x", "scheme": "git://example.com/x",
	} {
		w.create(&sourcev1.GitRepository{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec:       sourcev1.GitRepositorySpec{URL: url, Interval: metav1.Duration{Duration: time.Hour}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"}},
		})
		w.eventually(url+" is refused", func() bool {
			src, ok := w.store.Get(key("GitRepository", "default", name)).(*sourcev1.GitRepository)
			if !ok || len(src.Status.Conditions) == 0 {
				return false
			}
			for _, c := range src.Status.Conditions {
				if c.Type == meta.ReadyCondition {
					return c.Status == metav1.ConditionFalse && c.Reason == sourcev1.URLInvalidReason && src.Status.Artifact == nil
				}
			}
			return false
		})
	}
}

// What is larger than the operator allows is refused, and says where to look.
func TestGitLimits(t *testing.T) {
	for _, limits := range []headwaygit.MirrorOptions{{MaxObjects: 2}, {MaxPack: 100}} {
		var srv *gitserver.Server
		w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "one")}, remote(t, &srv, nil), func(c *syncer.Config) { c.GitLimits = limits })
		w.eventually("it is refused", func() bool {
			got := w.ready("GitRepository")
			return strings.HasPrefix(got, "False GitOperationFailed") && strings.Contains(got, "docs/gitops/sources.md")
		})
		if w.configMap("a") != nil {
			t.Error("a was stored")
		}
	}
}
