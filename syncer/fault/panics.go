package fault

import (
	"context"
	"fmt"
	"runtime"

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

// Catch turns a panic into an error: what a repository holds goes through
// libraries that were not all written for hostile input, and one bad source
// must not stop the others.
func Catch(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p}
			guard.Report(context.Background(), "work of the syncer", err)
		}
	}()
	return f()
}

// Discreetly replaces what is panicked with by what may be logged of it. It is
// to be deferred inside of what guard watches.
func Discreetly() {
	if p := recover(); p != nil {
		panic(&panicError{value: p})
	}
}
