package wire

import (
	"fmt"
	"strings"
)

// Preemption says who would be preempted, in words; it is empty if nobody would. It
// names at most as many pods.
func (r *Rollout) Preemption(most int) string {
	var parts []string
	rest := r.PreemptsMore
	for i, v := range r.Preempts {
		if i == most {
			rest += len(r.Preempts) - most
			break
		}
		then := "which nobody makes again"
		switch v.Then {
		case VictimMoves:
			then = "which gets another node"
		case VictimPending:
			then = "which would stay pending"
		}
		parts = append(parts, fmt.Sprintf("pod %s/%s (priority %d), %s", v.Namespace, v.Name, v.Priority, then))
	}
	switch {
	case rest > 0 && len(parts) > 0:
		parts = append(parts, fmt.Sprintf("and %d more", rest))
	case rest > 0:
		parts = append(parts, Plural(rest, "pod"))
	case len(parts) == 0:
		return ""
	}
	return "would preempt " + strings.Join(parts, "; ")
}

// Rollout is what a plan does to the pods of one workload.
type Rollout struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Replaced and Removed name today's pods that leave: Replaced those that
	// get a successor, Removed those that do not. Fewer is the number of
	// today's pods that leave but that the controller has yet to choose.
	Replaced []string `json:"replaced,omitempty"`
	Removed  []string `json:"removed,omitempty"`
	Fewer    int      `json:"fewer,omitempty"`
	// New is the number of pods that are created.
	New int `json:"new,omitempty"`
	// Strategy is RollingUpdate, with how many pods there may be above
	// (MaxSurge) and below (MaxUnavailable) the wanted number meanwhile, or
	// Recreate; empty if no pod is replaced.
	Strategy       string `json:"strategy,omitempty"`
	MaxSurge       int    `json:"maxSurge,omitempty"`
	MaxUnavailable int    `json:"maxUnavailable,omitempty"`
	// Schedule tells whether the new pods would find room: Fits, FitsLate,
	// Preempts, Stuck or Unschedulable; empty if there are no new pods, or if it was not
	// examined.
	Schedule string `json:"schedule,omitempty"`
	// Pending is the number of new pods that would get no node, and Message the
	// scheduler's message about the first of them. Late is the number that get
	// a node only after a pod of today has left.
	Pending int    `json:"pending,omitempty"`
	Late    int    `json:"late,omitempty"`
	Message string `json:"message,omitempty"`
	// Refused is the number of new pods that would be refused when the workload's controller
	// makes them, and Refusal why: a quota, a bound of the namespace, a missing account.
	Refused int    `json:"refused,omitempty"`
	Refusal string `json:"refusal,omitempty"`
	// Preempts are today's pods of a lower priority that would be preempted for the
	// new ones, and PreemptsMore how many more, which the caller may not see or which
	// are too many.
	Preempts     []Victim `json:"preempts,omitempty"`
	PreemptsMore int      `json:"preemptsMore,omitempty"`
	// Note is a further remark for people.
	Note string `json:"note,omitempty"`
}

// Victim is a pod that would be preempted.
type Victim struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Priority  int32  `json:"priority"`
	// Then is what would come of it: it Moves, if its controller makes it again and it
	// gets a node, or would be Pending then; it Ends if nobody makes it again.
	Then string `json:"then"`
}

// The values of Victim.Then.
const (
	VictimMoves   = "Moves"
	VictimPending = "Pending"
	VictimEnds    = "Ends"
)

// The values of Rollout.Schedule.
const (
	// ScheduleFits: there is room beside all of today's pods.
	ScheduleFits = "Fits"
	// ScheduleFitsLate: some fit only after old pods have left, which happens
	// during the update.
	ScheduleFitsLate = "FitsLate"
	// SchedulePreempts: all get nodes, but less important pods have to leave.
	SchedulePreempts = "Preempts"
	// ScheduleStuck: the update would wait for ever, because the old pods may
	// not leave before the new ones run, and the new ones have no room beside
	// them.
	ScheduleStuck = "Stuck"
	// ScheduleUnschedulable: there is no room on today's nodes.
	ScheduleUnschedulable = "Unschedulable"
)

// The values of Check.Result.
const (
	CheckPassed  = "passed"
	CheckWarning = "warning"
	CheckFailed  = "failed"
)

// Check is the result of a policy or budget for a plan. A commit with a failed
// check is not applied.
type Check struct {
	Name          string `json:"name"`
	Kustomization string `json:"kustomization,omitempty"`
	Result        string `json:"result"`
	Message       string `json:"message"`
}
