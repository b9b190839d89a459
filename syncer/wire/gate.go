package wire

import "time"

// The gates that a commit passes before it is applied.
const (
	GateMaxDeletes  = "max-deletes"
	GateMaxRestarts = "max-restarts"
	GateFreeze      = "freeze"
	GateQuarantine  = "quarantine"
	// HoldUnpruned is no gate: the commit is applied, but for what is to be pruned.
	HoldUnpruned = "unpruned"
)

// Gate is one of the bounds on what a commit may do, and what it makes of a
// plan.
type Gate struct {
	// Name is max-deletes, max-restarts, freeze or quarantine.
	Name string `json:"name"`
	// Open says that the plan passes it.
	Open bool `json:"open"`
	// Count is how much of it the plan needs, Limit how much it may, with what
	// the commit itself allows; Limit is absent where there is no bound.
	Count int  `json:"count,omitempty"`
	Limit *int `json:"limit,omitempty"`
	// Until is when it opens by itself, if it does.
	Until time.Time `json:"until,omitzero"`
	// Message says why it is shut and how to pass it, or why it is open
	// although a bound applies.
	Message string `json:"message,omitempty"`
}

// Hold says why a commit is not applied although its manifests are valid:
// freeze or quarantine.
type Hold struct {
	Kind string `json:"kind"`
	// Revision is the commit that waits.
	Revision string    `json:"revision,omitempty"`
	Message  string    `json:"message"`
	Since    time.Time `json:"since,omitzero"`
}

// RollbackRefusal is the answer, with status 409, to a rollback that was not
// made: nothing was changed.
type RollbackRefusal struct {
	Message string `json:"message"`
	// Conflicts are the files that later commits changed again.
	Conflicts []string `json:"conflicts,omitempty"`
}
