package syncer

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
)

// panicError is a panic of code that worked on what a user wrote.
type panicError struct {
	value any
	stack []byte
}

// Error tells what the runtime says, an index for example. What other code
// panics with may hold what it worked on, secrets too, and is left out; so is
// the stack, which is for the log.
func (e *panicError) Error() string {
	const what = "internal error, a bug: please report it with the stack in Headway's log"
	if err, ok := e.value.(runtime.Error); ok {
		return fmt.Sprintf("%s: %v", what, err)
	}
	return fmt.Sprintf("%s: panic with a %T", what, e.value)
}

// safely turns a panic into an error: what a repository holds goes through
// libraries that were not all written for hostile input, and one bad source
// must not stop the others.
func (s *Syncer) safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			e := &panicError{value: p, stack: debug.Stack()}
			s.log.Error("recovered from a panic", "err", e, "stack", string(e.stack))
			err = e
		}
	}()
	return f()
}

// safeStep is step for a Kustomization that may make it panic. Such a one is
// tried again as one that fails is.
func (k *kustomization) safeStep(ctx context.Context) (delay time.Duration, more bool) {
	err := k.s.safely(func() error {
		delay, more = k.step(ctx)
		return nil
	})
	if err == nil {
		return delay, more
	}
	ks := k.get()
	if ks == nil {
		return 0, false
	}
	_ = k.s.safely(func() error {
		k.refuse(ctx, ks, "", fail(meta.ReconciliationFailedReason, err), nil)
		return nil
	})
	return k.until(ks, k.s.now(), false), true
}
