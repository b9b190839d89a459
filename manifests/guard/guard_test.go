package guard_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"headway.dev/manifests/guard"
)

// counted replaces the panic handlers of the process for the test.
func counted(t *testing.T) *int {
	t.Helper()
	n := new(int)
	before := utilruntime.PanicHandlers
	utilruntime.PanicHandlers = []func(context.Context, any){func(context.Context, any) { *n++ }}
	t.Cleanup(func() { utilruntime.PanicHandlers = before })
	return n
}

func TestCallTurnsAPanicIntoAnError(t *testing.T) {
	n := counted(t)
	var index []int
	err := guard.Call(t.Context(), "look at default/web", func() error { index[3]++; return nil })
	var p *guard.Panic
	if !errors.As(err, &p) || p.What != "look at default/web" || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("Call: got %v", err)
	}
	want := errors.New("an ordinary one")
	if err := guard.Call(t.Context(), "x", func() error { return want }); !errors.Is(err, want) {
		t.Errorf("Call: got %v, want %v", err, want)
	}
	if guard.Do(t.Context(), "x", func() { panic("no") }) || !guard.Do(t.Context(), "x", func() {}) {
		t.Error("Do: reports the wrong end")
	}
	if *n != 2 {
		t.Errorf("panics told: got %d, want 2", *n)
	}
}

func TestLoopRunsAgainAfterAPanic(t *testing.T) {
	n := counted(t)
	synctest.Test(t, func(t *testing.T) {
		began, runs := time.Now(), 0
		var left []context.Context
		err := guard.Loop(t.Context(), "loop", func(ctx context.Context) error {
			left = append(left, ctx)
			if runs++; runs < 4 {
				panic(runs)
			}
			return nil
		})
		if err != nil || runs != 4 {
			t.Errorf("got %d runs and %v, want 4 and none", runs, err)
		}
		if got, want := time.Since(began), 700*time.Millisecond; got != want {
			t.Errorf("pauses: got %v together, want %v", got, want)
		}
		for i, ctx := range left {
			if ctx.Err() == nil {
				t.Errorf("the context of run %d has not ended", i+1)
			}
		}
	})
	if *n != 3 {
		t.Errorf("panics told: got %d, want 3", *n)
	}
}

func TestLoopEndsWithItsContext(t *testing.T) {
	counted(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := guard.Loop(ctx, "loop", func(context.Context) error { panic("always") })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
