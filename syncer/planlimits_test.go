package syncer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/wire"
)

// The answer of a plan and of a diff is bounded in bytes: what is left out is
// said, with what to do, and the summary still counts it.
func TestAnswerOfPlanIsBounded(t *testing.T) {
	const most, n = 20_000, 400
	w := newWorldWith(t, map[string]string{"cluster/a.yaml": configMap("a", "one")},
		func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "./cluster" },
		func(c *syncer.Config) { c.PlanBytes = most })
	w.eventually("applied", func() bool { return w.configMap("a")["key"] == "one" })
	var large, wrong strings.Builder
	for i := range n {
		large.WriteString("---\n" + configMap(fmt.Sprintf("large-%d", i), strings.Repeat("x", 1000)))
		fmt.Fprintf(&wrong, "---\napiVersion: v1\nkind: Service\nmetadata: {name: wrong-%d, namespace: default}\nspec: {ports: [{port: 123456}]}\n", i)
	}
	w.branch("large", map[string]string{"cluster/large.yaml": large.String()})
	w.branch("wrong", map[string]string{"cluster/wrong.yaml": wrong.String()})
	// Values, names and faults have as much each, and indentation is not counted.
	check := func(what string, p wire.Plans, want ...string) {
		t.Helper()
		raw, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) > 4*most {
			t.Errorf("%s: the answer has %d bytes", what, len(raw))
		}
		for _, word := range want {
			if !strings.Contains(string(raw), word) {
				t.Errorf("%s: the answer does not say %q:\n%.3000s", what, word, raw)
			}
		}
	}
	const todo = "plan one directory at a time (headway plan --path DIR), or make the commit smaller"
	p := w.plan(wire.PlanRequest{Source: "headway-system/cluster", Rev: "large"})
	check("plan", p, "the answer is too large, and leaves out what changes of ", " objects altogether", todo)
	if p.Summary.Create != n || len(p.Errors) > 0 || len(p.Actions) == 0 || len(p.Actions) >= n {
		t.Errorf("%+v, %d actions, errors %.200q", p.Summary, len(p.Actions), messages(p.Errors))
	}
	p = w.plan(wire.PlanRequest{Source: "headway-system/cluster", Rev: "wrong"})
	check("faults", p, "the answer is too large, and leaves out ", " faults", todo)
	if len(p.Errors) == 0 || len(p.Errors) >= n {
		t.Errorf("%d faults are told", len(p.Errors))
	}
	w.call("sync", wire.SyncRequest{}, nil)
	diff, err := w.sync.Diff(t.Context(), wire.DiffRequest{Source: "headway-system/cluster", To: git(t, w.bare, "rev-parse", "large")})
	if err != nil {
		t.Fatal(err)
	}
	check("diff", diff, "the answer is too large, and leaves out what changes of ", todo)
	if diff.Summary.Create != n {
		t.Errorf("%+v", diff.Summary)
	}
}

// slow is an Access whose user ci waits while it is held.
type slow struct {
	viewer
	mu      sync.Mutex
	entered chan struct{}
	held    chan struct{}
}

// Allowed implements syncer.Access.
func (s *slow) Allowed(ctx context.Context, user rights.User, verb string, key object.Key) error {
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	if user.Name == "slow" && held != nil {
		s.entered <- struct{}{}
		<-held
	}
	user.Name = "ci"
	return s.viewer.Allowed(ctx, user, verb, key)
}

// One user has a bounded number of plans made at once: one more is told to come
// again, others are not concerned, and once one has ended there is room.
func TestPlansOfOneUserAreBounded(t *testing.T) {
	access := &slow{entered: make(chan struct{}, 1000)}
	w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "one")}, nil, func(c *syncer.Config) { c.Access, c.PlansOfUser = access, 2 })
	w.eventually("applied", func() bool { return w.configMap("a")["key"] == "one" })
	handler := w.sync.Handler()
	ask := func(user, method, path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(rights.WithUser(t.Context(), rights.User{Name: user}), method, "/headway/v1/"+path, strings.NewReader(body))
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		return rec
	}
	held := make(chan struct{})
	access.mu.Lock()
	access.held = held
	access.mu.Unlock()
	var wg sync.WaitGroup
	codes := make(chan int, 2)
	for range 2 {
		wg.Go(func() { codes <- ask("slow", http.MethodPost, "plan", "{}").Code })
		<-access.entered
	}
	for _, c := range []struct{ method, path, body string }{{http.MethodPost, "plan", "{}"}, {http.MethodGet, "diff?to=main", ""}} {
		rec := ask("slow", c.method, c.path, c.body)
		if rec.Code != http.StatusTooManyRequests || rec.Header().Get("Retry-After") != "2" || !strings.Contains(rec.Body.String(), `the user "slow" has 2 plans and diffs made at once`) {
			t.Errorf("one more %s: %d %q %s", c.path, rec.Code, rec.Header().Get("Retry-After"), rec.Body)
		}
	}
	if rec := ask("ci", http.MethodPost, "plan", "{}"); rec.Code != http.StatusOK {
		t.Errorf("another user: %d %s", rec.Code, rec.Body)
	}
	access.mu.Lock()
	access.held = nil
	access.mu.Unlock()
	close(held)
	wg.Wait()
	for range 2 {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("one of two: %d", code)
		}
	}
	if rec := ask("slow", http.MethodPost, "plan", "{}"); rec.Code != http.StatusOK {
		t.Errorf("once they have ended: %d %s", rec.Code, rec.Body)
	}
}
