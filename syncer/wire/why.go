package wire

import "time"

// Why is why an object is where it is, or why it does not run yet.
type Why struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// State is Running, Waiting, Completed, Failed, Suspended or Terminating, for a
	// claim that has a volume Bound, and Message says more in one sentence.
	State   WhyState `json:"state"`
	Message string   `json:"message"`
	// Node is the node of a pod.
	Node string `json:"node,omitempty"`
	// Reasons are the gravest first.
	Reasons []WhyReason `json:"reasons"`
	// Kustomization and Revision are empty if neither the object nor what it belongs
	// to is from Git; Declared is which of them is, as kind/name.
	Kustomization string `json:"kustomization,omitempty"`
	Revision      string `json:"revision,omitempty"`
	Declared      string `json:"declared,omitempty"`
	// Commits are those that the reasons name, by their hash.
	Commits map[string]Commit `json:"commits,omitempty"`
}

// WhyState is the state of an object that somebody asks about.
type WhyState string

// The states.
const (
	WhyRunning     WhyState = "Running"
	WhyWaiting     WhyState = "Waiting"
	WhyCompleted   WhyState = "Completed"
	WhyFailed      WhyState = "Failed"
	WhySuspended   WhyState = "Suspended"
	WhyTerminating WhyState = "Terminating"
	WhyBound       WhyState = "Bound"
)

// WhyReason is one reason.
type WhyReason struct {
	// Reason is a word, as in conditions, statuses of containers and events, and Message
	// is in Kubernetes' words if Kubernetes has some.
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Object is what the reason is about, as kind/name, if that is neither the object
	// itself nor one of its pods; Container is a container of the pods.
	Object    string `json:"object,omitempty"`
	Container string `json:"container,omitempty"`
	// Pods are the names of the pods that have the reason, at most 20, and Count is how
	// many there are; for a pod itself neither is there.
	Pods  []string `json:"pods,omitempty"`
	Count int      `json:"count,omitempty"`
	// Time is since when, if that is known.
	Time time.Time `json:"time,omitzero"`
	// Nodes is what each node says, the nearest to the pod first. NodesHidden reports
	// that it is left out because the caller may not list nodes.
	Nodes       []WhyNode `json:"nodes,omitempty"`
	NodesHidden bool      `json:"nodesHidden,omitempty"`
	// Fixes are what would help, the nearest first.
	Fixes []string `json:"fixes,omitempty"`
	// Set is what in Git the reason is about, and Since the hash of the newest commit
	// that changed that or, if it is nothing that is declared, the object.
	Set   []WhySet `json:"set,omitempty"`
	Since string   `json:"since,omitempty"`
}

// WhyNode is what a node says about a pod.
type WhyNode struct {
	Node string `json:"node"`
	// Reasons are all that is in the way, in Kubernetes' words; none if the pod fits.
	Reasons []string `json:"reasons,omitempty"`
	Fixes   []string `json:"fixes,omitempty"`
}

// WhySet is a field that Git sets.
type WhySet struct {
	Path   string `json:"path"`
	Value  any    `json:"value"`
	Commit string `json:"commit,omitempty"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
}
