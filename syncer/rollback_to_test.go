package syncer_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/wire"
)

// as makes a call to the API in somebody's name.
func (w *world) as(user rights.User, path, body string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequestWithContext(rights.WithUser(w.t.Context(), user), http.MethodPost, "/headway/v1/"+path, strings.NewReader(body))
	rec := httptest.NewRecorder()
	w.sync.Handler().ServeHTTP(rec, r)
	return rec
}

// A rollback to a commit brings back the state of then, as one commit, of a
// remote source and by a name such as HEAD~2 as well.
func TestRollbackTo(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one"), "b.yaml": configMap("b", "one")}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		remote(t, &srv, nil)(src, ks)
	})
	first := git(t, w.work, "rev-parse", "HEAD")
	w.stage("second", map[string]string{"a.yaml": configMap("a", "two"), "c.yaml": configMap("c", "two")})
	w.write(map[string]string{"b.yaml": ""})
	third := w.push("third")
	w.poke()
	w.applied(third)
	var res wire.RollbackResult
	if code, body := w.call("rollback", wire.RollbackRequest{To: "HEAD~2"}, &res); code != http.StatusOK || res.To != first || res.Reverted != third {
		t.Fatalf("rollback to HEAD~2: %d %s", code, body)
	}
	w.wentBack(third, first)
	w.poke()
	w.applied(res.Revert)
	if a, b, c := w.configMap("a")["key"], w.configMap("b")["key"], w.configMap("c"); a != "one" || b != "one" || c != nil {
		t.Errorf("after the rollback a = %q, b = %q, c = %v", a, b, c)
	}
	if code, body := w.call("rollback", wire.RollbackRequest{To: first}, nil); code != http.StatusConflict {
		t.Errorf("to where it is: %d %s", code, body)
	}
	if code, body := w.call("rollback", wire.RollbackRequest{To: first, Commit: third}, nil); code != http.StatusUnprocessableEntity || !strings.Contains(body, "name either") {
		t.Errorf("both: %d %s", code, body)
	}
}

// The author of a rollback is who was authenticated; an administrator may name
// a person, and the message says who it was.
func TestAuthorOfARollback(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	w.applied(w.push("second"))
	const asked = `{"message":"why","author":{"name":"Grace","email":"grace@example.com","date":"2026-01-01T00:00:00Z"}}`
	for _, c := range []struct {
		user rights.User
		want string
	}{
		{rights.User{Name: "mallory"}, "mallory <mallory@cluster.local>"},
		{rights.User{Name: "system:serviceaccount:ci:deploy"}, "system:serviceaccount:ci:deploy <system.serviceaccount.ci.deploy@cluster.local>"},
		{rights.User{Name: "admin", Groups: []string{"system:masters"}}, "Grace <grace@example.com>"},
	} {
		before := git(t, w.bare, "rev-parse", "main")
		if rec := w.as(c.user, "rollback", strings.Replace(asked, "{", `{"commit":"`+before+`",`, 1)); rec.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", c.user.Name, rec.Code, rec.Body)
		}
		if got := git(t, w.bare, "log", "-1", "--format=%an <%ae>", "main"); got != c.want {
			t.Errorf("asked by %s: the author is %s, want %s", c.user.Name, got, c.want)
		}
		if got := git(t, w.bare, "log", "-1", "--format=%(trailers:key=Requested-by,valueonly)", "main"); got != c.user.Name {
			t.Errorf("asked by %s: the trailer says %q", c.user.Name, got)
		}
		w.applied(git(t, w.bare, "rev-parse", "main"))
	}
}

// A source that cannot be fetched fails neither a rollback nor a sync of
// another.
func TestUnrelatedSource(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	w.create(&sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "broken"},
		Spec:       sourcev1.GitRepositorySpec{URL: "https://127.0.0.1:1/none.git", Interval: metav1.Duration{Duration: time.Hour}},
	})
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	w.applied(w.push("second"))
	var res wire.RollbackResult
	if code, body := w.call("rollback", wire.RollbackRequest{}, &res); code != http.StatusOK || res.Source != "headway-system/cluster" {
		t.Errorf("rollback: %d %s", code, body)
	}
	if code, body := w.call("sync", wire.SyncRequest{Wait: true}, nil); code != http.StatusOK || !strings.Contains(body, `"ok":true`) {
		t.Errorf("sync: %d %s", code, body)
	}
}
