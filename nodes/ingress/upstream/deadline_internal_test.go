package upstream

import (
	"context"
	"sync"
	"testing"
	"time"
)

// A deadline that is stopped stays so, whatever is still read of the request's body: else
// it would cut answers that are long.
func TestDeadlineStaysStopped(t *testing.T) {
	for range 2000 {
		ctx, cancel := context.WithCancelCause(t.Context())
		d := newDeadline(ctx, time.Hour, cancel)
		begun := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			close(begun)
			for range 20 {
				d.extend()
			}
		})
		<-begun
		if d.stop() {
			t.Fatal("an hour has passed")
		}
		wg.Wait()
		if d.timer.Stop() {
			t.Fatal("the timer runs after the deadline was stopped")
		}
		cancel(nil)
	}
}

// A deadline that passes ends the request once, and is not extended after.
func TestDeadlinePasses(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	d := newDeadline(ctx, time.Millisecond, cancel)
	<-ctx.Done()
	d.extend()
	if context.Cause(ctx) != ErrTimeout || !d.stop() || d.timer.Stop() { //nolint:errorlint // the very error
		t.Errorf("it ends with %v", context.Cause(ctx))
	}
	none := newDeadline(ctx, 0, cancel)
	none.extend()
	if none.stop() {
		t.Error("no deadline has passed")
	}
}
