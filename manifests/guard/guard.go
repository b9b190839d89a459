// Package guard stops panics at the boundaries between what must not end each
// other: a reconcile, a pod's worker, a request, a loop.
//
// [Call] and [Do] run one piece of work, [Loop] what runs as long as the
// process. A panic is told to utilruntime.PanicHandlers, as the panics of the
// libraries' goroutines are: one of them logs it with its stack, another
// counts it in headway_panics_total.
package guard

import (
	"context"
	"fmt"
	"sync"
	"time"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// A loop that panicked runs again after a pause that doubles from firstPause to
// longestPause. One that has run for calm begins with the first pause again.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 30 * time.Second
	calm         = 5 * time.Minute
)

// Panic is the error made from a panic.
type Panic struct {
	// What names what was being done.
	What string
	// Value is the value given to panic.
	Value any
}

// Error implements error.
func (p *Panic) Error() string { return fmt.Sprintf("%s: panic: %v", p.What, p.Value) }

// Call runs f, and turns a panic into a *Panic.
func Call(ctx context.Context, what string, f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = report(ctx, what, value)
		}
	}()
	return f()
}

// Do runs f, and reports whether it returned without a panic.
func Do(ctx context.Context, what string, f func()) bool {
	return Call(ctx, what, func() error { f(); return nil }) == nil
}

// Report passes a recovered panic to the panic handlers. The deferred function
// that recovered must call it, so that the stack still shows where the panic
// happened.
func Report(ctx context.Context, what string, value any) {
	_ = report(ctx, what, value)
}

func report(ctx context.Context, what string, value any) *Panic {
	p := &Panic{What: what, Value: value}
	for _, handler := range utilruntime.PanicHandlers {
		handler(ctx, p)
	}
	return p
}

// Loop runs a loop until it returns, and again after a panic, unless ctx has
// ended. run must be able to start over.
func Loop(ctx context.Context, what string, run func(context.Context) error) error {
	pause := firstPause
	for {
		began := time.Now()
		panicked, err := once(ctx, what, run)
		if !panicked {
			return err
		}
		if time.Since(began) > calm {
			pause = firstPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, longestPause)
	}
}

// once runs run under a context that ends with it: what it started must not
// outlive it when it is run again.
func once(ctx context.Context, what string, run func(context.Context) error) (panicked bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() {
		if value := recover(); value != nil {
			panicked, err = true, report(ctx, what, value)
		}
	}()
	return false, run(ctx)
}

var install sync.Once

// Install makes panics of the libraries' goroutines end those goroutines and
// not the process, and calls count with each panic of the process. Only the
// first call has an effect; make it before other goroutines are started.
func Install(count func()) {
	install.Do(func() {
		utilruntime.ReallyCrash = false
		utilruntime.PanicHandlers = append(utilruntime.PanicHandlers, func(context.Context, any) { count() })
	})
}
