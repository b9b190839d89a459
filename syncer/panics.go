package syncer

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/fluxcd/pkg/apis/meta"

	"headway.dev/manifests/guard"
)

// panicError is a panic of code that worked on what a user wrote.
type panicError struct {
	value any
}

// Error tells what the runtime says, an index for example. What other code
// panics with may hold what it worked on, secrets too, and is left out.
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
			err = &panicError{value: p}
			guard.Report(context.Background(), "work of the syncer", err)
		}
	}()
	return f()
}

// discreetly replaces what is panicked with by what may be logged of it. It is
// to be deferred inside of what guard watches.
func discreetly() {
	if p := recover(); p != nil {
		panic(&panicError{value: p})
	}
}

// safeStep is step for a Kustomization that may make it panic. Such a one is
// tried again as one that fails is.
func (k *kustomization) safeStep(ctx context.Context) (delay time.Duration, more bool) {
	if !k.take(ctx) {
		return 0, false
	}
	defer k.giveBack()
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
