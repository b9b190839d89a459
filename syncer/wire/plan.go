package wire

// Rollout is what a plan does to the pods of one workload.
type Rollout struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Replaced and Removed name today's pods that leave: for new ones, or
	// without a successor. Fewer is how many of today's pods leave that the
	// controller is yet to choose.
	Replaced []string `json:"replaced,omitempty"`
	Removed  []string `json:"removed,omitempty"`
	Fewer    int      `json:"fewer,omitempty"`
	// New is how many pods are created.
	New int `json:"new,omitempty"`
	// Strategy is RollingUpdate, with the pods that there may be more and less
	// than wanted meanwhile, or Recreate; empty if no pod is replaced.
	Strategy       string `json:"strategy,omitempty"`
	MaxSurge       int    `json:"maxSurge,omitempty"`
	MaxUnavailable int    `json:"maxUnavailable,omitempty"`
	// Schedule says where the new pods would find room; empty if there are
	// none, or nobody looked.
	Schedule string `json:"schedule,omitempty"`
	// Pending is how many of the new pods would get no node, and Message the
	// scheduler's about the first of them. Late is how many get one only where
	// a pod of today has left.
	Pending int    `json:"pending,omitempty"`
	Late    int    `json:"late,omitempty"`
	Message string `json:"message,omitempty"`
	// Note is what a person should know besides.
	Note string `json:"note,omitempty"`
}

// The values of Rollout.Schedule.
const (
	// ScheduleFits: beside all pods of today.
	ScheduleFits = "Fits"
	// ScheduleFitsLate: some only where pods of today leave, which the update
	// does by itself.
	ScheduleFitsLate = "FitsLate"
	// ScheduleStuck: the update would wait for ever, because the old pods may
	// not leave before the new ones run, which have no room beside them.
	ScheduleStuck = "Stuck"
	// ScheduleUnschedulable: not on today's nodes.
	ScheduleUnschedulable = "Unschedulable"
)

// The values of Check.Result.
const (
	CheckPassed  = "passed"
	CheckWarning = "warning"
	CheckFailed  = "failed"
)

// Check is a policy or budget that a plan was held against. What failed keeps
// the commit from being applied.
type Check struct {
	Name          string `json:"name"`
	Kustomization string `json:"kustomization,omitempty"`
	Result        string `json:"result"`
	Message       string `json:"message"`
}
