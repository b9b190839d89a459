package cli

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"

	"headway.dev/syncer/wire"
)

// A command asks again, with the whole request, when a server with too much to do
// says when; without that, or when the caller gives up, it says what the server
// said.
func TestClientComesAgain(t *testing.T) {
	var asked atomic.Int64
	busy := int64(2)
	retryAfter, answered := "1", func() {}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req wire.PlanRequest
		if body, err := io.ReadAll(r.Body); err != nil || json.Unmarshal(body, &req) != nil || req.Rev != "branch" {
			t.Errorf("request %q, %v", body, err)
		}
		if asked.Add(1) <= busy {
			if retryAfter != "" {
				w.Header().Set("Retry-After", retryAfter)
			}
			http.Error(w, "too many plans", http.StatusTooManyRequests)
			answered()
			return
		}
		_, _ = w.Write([]byte(`{"target":"it"}`))
	}))
	defer srv.Close()
	c, err := NewClient(&rest.Config{Host: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.http.CloseIdleConnections()
	plan := func(ctx context.Context) (string, error) {
		var plans wire.Plans
		err := c.Call(ctx, http.MethodPost, "/headway/v1/plan", wire.PlanRequest{Rev: "branch"}, &plans)
		return plans.Target, err
	}
	if got, err := plan(t.Context()); err != nil || got != "it" || asked.Swap(0) != 3 {
		t.Errorf("%q %v", got, err)
	}
	for _, after := range []string{"", "3600"} {
		retryAfter = after
		if _, err := plan(t.Context()); err == nil || !strings.Contains(err.Error(), "too many plans") || asked.Swap(0) != 1 {
			t.Errorf("Retry-After %q: %v", after, err)
		}
	}
	retryAfter = "60"
	ctx, cancel := context.WithCancel(t.Context())
	answered = cancel
	if _, err := plan(ctx); err == nil || asked.Swap(0) != 1 {
		t.Errorf("given up: %v", err)
	}
}
