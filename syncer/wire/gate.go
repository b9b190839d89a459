package wire

import "time"

// The gates that a commit passes before it is applied.
const (
	GateMaxDeletes  = "max-deletes"
	GateMaxRestarts = "max-restarts"
	GateFreeze      = "freeze"
	GateQuarantine  = "quarantine"
	// HoldUnpruned is not a gate: the commit is applied, except for what would
	// be pruned.
	HoldUnpruned = "unpruned"
)

// Gate is one of the limits on what a commit may do, and its decision about a
// plan.
type Gate struct {
	// Name is max-deletes, max-restarts, freeze or quarantine.
	Name string `json:"name"`
	// Open reports whether the plan passes it.
	Open bool `json:"open"`
	// Count is how many the plan needs, and Limit how many it may have,
	// including what the commit itself allows; Limit is absent if there is no
	// bound.
	Count int  `json:"count,omitempty"`
	Limit *int `json:"limit,omitempty"`
	// Until is when it opens by itself, if it does.
	Until time.Time `json:"until,omitzero"`
	// Message explains why it is closed and how to pass it, or why it is open
	// although a bound applies.
	Message string `json:"message,omitempty"`
}

// Hold is what keeps a commit, or a part of it, from being applied although its
// manifests are valid: freeze, quarantine or unpruned.
type Hold struct {
	Kind string `json:"kind"`
	// Revision is the commit that waits.
	Revision string    `json:"revision,omitempty"`
	Message  string    `json:"message"`
	Since    time.Time `json:"since,omitzero"`
}

// RollbackRefusal is the answer, with status 409, to a rollback that was
// refused: nothing was changed.
type RollbackRefusal struct {
	Message string `json:"message"`
	// Conflicts are the files that later commits changed again.
	Conflicts []string `json:"conflicts,omitempty"`
}
