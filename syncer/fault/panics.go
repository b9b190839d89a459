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

// Error includes the runtime's message, such as an index out of range. The
// value with which other code panics may contain what it worked on, even
// secrets, and is omitted.
func (e *panicError) Error() string {
	const what = "internal error, a bug: please report it with the stack in Headway's log"
	if err, ok := e.value.(runtime.Error); ok {
		return fmt.Sprintf("%s: %v", what, err)
	}
	return fmt.Sprintf("%s: panic with a %T", what, e.value)
}

// Catch turns a panic into an error: the content of a repository passes through
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

// Discreetly replaces the value of a panic by what may be logged of it. Defer
// it inside the function that guard calls.
func Discreetly() {
	if p := recover(); p != nil {
		panic(&panicError{value: p})
	}
}
