package wire

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
	// Stuck or Unschedulable; empty if there are no new pods, or if it was not
	// examined.
	Schedule string `json:"schedule,omitempty"`
	// Pending is the number of new pods that would get no node, and Message the
	// scheduler's message about the first of them. Late is the number that get
	// a node only after a pod of today has left.
	Pending int    `json:"pending,omitempty"`
	Late    int    `json:"late,omitempty"`
	Message string `json:"message,omitempty"`
	// Note is a further remark for people.
	Note string `json:"note,omitempty"`
}

// The values of Rollout.Schedule.
const (
	// ScheduleFits: there is room beside all of today's pods.
	ScheduleFits = "Fits"
	// ScheduleFitsLate: some fit only after old pods have left, which happens
	// during the update.
	ScheduleFitsLate = "FitsLate"
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
