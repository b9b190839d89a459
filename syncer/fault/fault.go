package fault

import (
	"errors"
	"strings"

	"headway.dev/syncer/plan"
)

// Error is an error with the condition's reason.
type Error struct {
	Reason string
	err    error
}

// Error implements error.
func (f *Error) Error() string { return f.err.Error() }

// Unwrap returns the error without its reason.
func (f *Error) Unwrap() error { return f.err }

// New returns an error with the reason of the condition that will report it.
func New(reason string, err error) error { return &Error{Reason: reason, err: err} }

// ReasonOf returns the reason of an error, or another if it has none.
func ReasonOf(err error, otherwise string) string {
	if f := (*Error)(nil); errors.As(err, &f) {
		return f.Reason
	}
	return otherwise
}

// Invalid contains all faults of a plan.
type Invalid struct{ Errs []*plan.Error }

// Error implements error: a line each.
func (e *Invalid) Error() string {
	lines := make([]string, len(e.Errs))
	for i, f := range e.Errs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}
