package syncer_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/egress"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/forge"
	"headway.dev/syncer/forge/forgetest"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/wire"
)

// denying restarts a world that reaches no address of a range.
func (w *world) denying(rule string) {
	w.t.Helper()
	deny, err := egress.Parse([]string{rule})
	if err != nil {
		w.t.Fatal(err)
	}
	w.stop()
	before := w.cfg
	w.cfg = func(c *syncer.Config) {
		if before != nil {
			before(c)
		}
		c.GitLimits.Egress = deny
	}
	w.start()
}

// A forge whose address is denied is told of no commit and not connected to,
// which the log says; the commits are applied all the same.
func TestDeniedForgeOfSource(t *testing.T) {
	w, srv, log := forgeWorld(t, forge.Gitea, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	reported(w, srv, git(t, w.work, "rev-parse", "HEAD"), "success")
	front, accepted := gitserver.Front(t, "127.0.0.2", strings.TrimPrefix(srv.URL, "http://"))
	w.commit(change.Patch(key("Secret", "headway-system", "forge"), func(o object.Object) bool {
		s, ok := o.(*corev1.Secret)
		if ok {
			s.Data["address"] = []byte("http://" + front + "/api/v1")
		}
		return ok
	}))
	w.denying("127.0.0.2/32")
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	second := w.pushed("second")
	w.applied(second)
	w.eventually("the log says why", func() bool { return strings.Contains(log.String(), "--deny-addresses has 127.0.0.2/32") })
	if n := accepted(); n > 0 {
		t.Errorf("the forge was connected to %d times", n)
	}
	if slices.ContainsFunc(srv.Statuses(), func(st forgetest.Status) bool { return st.SHA == second }) {
		t.Error("the forge was told")
	}
}

// A rollback does not reach a remote whose address is denied, which stays as it
// is.
func TestDeniedRollback(t *testing.T) {
	w, _, _ := forgeWorld(t, forge.Gitea, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	w.eventually("applied", func() bool { return w.configMap("a")["key"] == "one" })
	src, ok := w.store.Get(key("GitRepository", "headway-system", "cluster")).(*sourcev1.GitRepository)
	if !ok {
		t.Fatal("there is no source")
	}
	remote, err := url.Parse(src.Spec.URL)
	if err != nil {
		t.Fatal(err)
	}
	front, accepted := gitserver.Front(t, "127.0.0.2", remote.Host)
	remote.Host = front
	w.commit(change.Patch(key("GitRepository", "headway-system", "cluster"), func(o object.Object) bool {
		src, ok := o.(*sourcev1.GitRepository)
		if ok {
			src.Spec.URL = remote.String()
		}
		return ok
	}))
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	second := w.pushed("second")
	w.applied(second)
	if accepted() == 0 {
		t.Fatal("the remote is not reached by the address that is denied later")
	}
	w.denying("127.0.0.2/32")
	before := accepted()
	w.eventually("the source says so", func() bool { return strings.Contains(w.ready("GitRepository"), "--deny-addresses has 127.0.0.2/32") })
	if _, err := w.sync.Rollback(t.Context(), wire.RollbackRequest{Source: "headway-system/cluster"}); err == nil {
		t.Error("the rollback was made")
	}
	if n := accepted() - before; n > 0 {
		t.Errorf("the remote was connected to %d times", n)
	}
	if got := git(t, w.bare, "rev-parse", "main"); got != second {
		t.Errorf("main is at %s, want %s", got, second)
	}
}
