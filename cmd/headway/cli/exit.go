package cli

import "fmt"

// Exit codes, as documented in the README.
const (
	ExitOK     = 0
	ExitFailed = 1
	// ExitChanges is the exit code of plan when the commit would change
	// something.
	ExitChanges = 2
	// ExitRefused is the exit code of rollback when it changed nothing.
	ExitRefused = 3
)

// ExitError ends the program with a code and without a message of its own.
type ExitError struct{ Code int }

// Error implements error.
func (e ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }
