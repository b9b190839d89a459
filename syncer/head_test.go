package syncer_test

import (
	"net/http"
	"strings"
	"testing"

	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/wire"
)

// HEAD and what counts from it are the newest commit that a source has, also of
// a remote one, and whatever branch the repository itself calls HEAD.
func TestHeadIsTheSources(t *testing.T) {
	for name, far := range map[string]bool{"local": false, "remote": true} {
		t.Run(name, func(t *testing.T) {
			var srv *gitserver.Server
			edit := remote(t, &srv, nil)
			if !far {
				edit = nil
			}
			w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, edit)
			w.applied(git(t, w.work, "rev-parse", "HEAD"))
			git(t, w.work, "push", "-q", "origin", "HEAD:elsewhere")
			w.write(map[string]string{"a.yaml": configMap("a", "two")})
			second := w.push("second")
			w.applied(second)
			git(t, w.bare, "symbolic-ref", "HEAD", "refs/heads/elsewhere")

			var d wire.Plans
			if code, body := w.call("diff?from=HEAD~1&to=HEAD", nil, &d); code != http.StatusOK || len(d.Actions) != 1 || d.Actions[0].Fields[0].Old != "one" || d.Actions[0].Fields[0].New != "two" {
				t.Errorf("diff HEAD~1 HEAD: %d %s", code, body)
			}
			for at, want := range map[string]string{"HEAD": "two", "HEAD~1": "one", "HEAD^": "one"} {
				var p wire.PastObject
				code, body := w.call("get?kind=cm&name=a&at="+at, nil, &p)
				if data, _ := p.Object["data"].(map[string]any); code != http.StatusOK || data["key"] != want {
					t.Errorf("get --at %s: %d %s, want %s", at, code, body, want)
				}
			}
			if p := w.plan(wire.PlanRequest{Rev: "HEAD"}); len(p.Actions) > 0 || len(p.Errors) > 0 || !strings.HasSuffix(p.Target, second) {
				t.Errorf("plan HEAD: %+v", p)
			}
			if p := w.plan(wire.PlanRequest{Rev: "HEAD~1"}); len(p.Actions) != 1 || len(p.Errors) > 0 {
				t.Errorf("plan HEAD~1: %+v", p)
			}
			var res wire.RollbackResult
			if code, body := w.call("rollback", wire.RollbackRequest{Commit: "HEAD"}, &res); code != http.StatusOK || res.Reverted != second {
				t.Errorf("rollback HEAD: %d %s, want that of %s", code, body, second)
			}
		})
	}
}
