package proxy_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"headway.dev/proxy"
)

// explosive panics the first time that it is run, and the first that it is asked.
type explosive struct {
	*memory
	runs, asked atomic.Int32
}

func (e *explosive) Run(ctx context.Context) error {
	if e.runs.Add(1) == 1 {
		panic("these services are too much")
	}
	return e.memory.Run(ctx)
}

func (e *explosive) Take(all bool) (proxy.Changes, bool) {
	changes, complete := e.memory.Take(all)
	if e.asked.Add(1) == 1 {
		panic("these endpoints are too much")
	}
	return changes, complete
}

// A panic of what follows the API or writes the rules is told, and both go on.
func TestPanics(t *testing.T) {
	var told atomic.Int32
	before := utilruntime.PanicHandlers
	utilruntime.PanicHandlers = []func(context.Context, any){func(context.Context, any) { told.Add(1) }}
	t.Cleanup(func() { utilruntime.PanicHandlers = before })
	pods := servers(t, a, b)
	m := &explosive{memory: newMemory()}
	m.set(newService("web", vip, 0), ready(a))
	p, err := proxy.New(proxy.Config{Source: m, Services: config, VerifyPeriod: 200 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		if err := proxy.Cleanup(context.Background()); err != nil {
			t.Errorf("Cleanup: %v", err)
		}
	})
	eventually(t, "the service answers after the panics", reaches(pods[1], vip+":80", a))
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := told.Load(); n != 2 || m.runs.Load() != 2 {
		t.Errorf("panics told: %d, want 2; runs: %d, want 2", n, m.runs.Load())
	}
}
