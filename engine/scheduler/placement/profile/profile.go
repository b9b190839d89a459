// Package profile says how pods are scheduled: which rules a node is asked, what it is
// scored by, and who is served at all, as a KubeSchedulerConfiguration does.
//
//	file ──Read──▶ Configuration ──Profiles.Of(schedulerName)──▶ Profile ──▶ placement
//
// Whatever a file says has its effect, or is refused with its name.
package profile

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"headway.dev/engine/scheduler/placement/match"
)

// Configuration is of the scheduler. Its zero value is how it schedules if nobody says
// anything.
type Configuration struct {
	Profiles Profiles
	// FirstBackoff and LastBackoff are how long a pod waits after its first failure, and
	// at most; 0 for the default.
	FirstBackoff, LastBackoff time.Duration
}

// Profiles are by the spec.schedulerName of the pods that they are for. Without any,
// the default scheduler's name has the default profile.
type Profiles map[string]*Profile

// Of returns the profile for pods of a schedulerName; the default one if none is.
func (p Profiles) Of(schedulerName string) *Profile {
	if len(p) == 0 {
		return standard
	}
	if of := p[Name(schedulerName)]; of != nil {
		return of
	}
	return standard
}

// Serves reports whether there is a profile for pods of a schedulerName.
func (p Profiles) Serves(schedulerName string) bool {
	name := Name(schedulerName)
	if len(p) == 0 {
		return name == corev1.DefaultSchedulerName
	}
	return p[name] != nil
}

// Names are those that are served.
func (p Profiles) Names() []string {
	if len(p) == 0 {
		return []string{corev1.DefaultSchedulerName}
	}
	return slices.Sorted(maps.Keys(p))
}

// Name is the schedulerName of pods that have this one.
func Name(schedulerName string) string {
	if schedulerName == "" {
		return corev1.DefaultSchedulerName
	}
	return schedulerName
}

// Filter is a rule by which nodes are refused.
type Filter uint16

// The filters that a profile can be without.
const (
	NodeUnschedulable Filter = 1 << iota
	NodeName
	TaintToleration
	NodeAffinity
	NodePorts
	NodeResourcesFit
	PodTopologySpread
	InterPodAffinity
)

const allFilters = NodeUnschedulable | NodeName | TaintToleration | NodeAffinity | NodePorts | NodeResourcesFit | PodTopologySpread | InterPodAffinity

// Weights are what scores count for; 0 is not at all.
type Weights struct {
	Fit, Balance, Spread, Between, Preferred, Taints, Images int64
}

// Profile is how some pods are scheduled.
type Profile struct {
	// Name is the schedulerName of its pods.
	Name    string
	filters Filter
	Weights Weights
	// Preempts: less important pods leave for pods that fit nowhere.
	Preempts bool
	// candidates are how many nodes are compared then: a part of all, and at least.
	candidatesPercent, candidatesLeast int
	// percent of the nodes that are scored if they fit; 0 for what is usual.
	percent int

	Fit Strategy
	// Balance are the resources whose parts in use are to be even.
	Balance []corev1.ResourceName
	ignored map[string]bool // extended resources that nodes need not have, and groups of them ("example.com/")

	// Spread is that of pods that say nothing.
	Spread match.Defaults

	// Required is what nodes must match besides, and Preferred what they should; nil for
	// nothing.
	Required  *nodeaffinity.NodeSelector
	Preferred *nodeaffinity.PreferredSchedulingTerms

	// HardWeight is the weight of the required affinity that others have to a pod.
	HardWeight int64
	// OwnOnly: preferences of others count only for pods that have some of their own.
	OwnOnly bool
}

var usualBalance = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

// standard is the profile of Kubernetes' default scheduler.
var standard = newProfile(corev1.DefaultSchedulerName)

func newProfile(name string) *Profile {
	return &Profile{
		Name: name, filters: allFilters,
		Weights:  Weights{Fit: 1, Balance: 1, Spread: 2, Between: 2, Preferred: 2, Taints: 3, Images: 1},
		Preempts: true, candidatesLeast: 100,
		Fit: Strategy{Type: LeastAllocated, Resources: cpuAndMemory}, Balance: usualBalance,
		Spread: match.System, HardWeight: 1,
	}
}

// Has reports whether nodes are asked about a rule.
func (p *Profile) Has(f Filter) bool { return p.filters&f != 0 }

// Ignores reports whether nodes need not have a resource.
func (p *Profile) Ignores(resource corev1.ResourceName) bool {
	if len(p.ignored) == 0 {
		return false
	}
	group, _, grouped := strings.Cut(string(resource), "/")
	return p.ignored[string(resource)] || grouped && p.ignored[group+"/"]
}

// Standard reports whether it is the profile that is if nobody says anything.
func (p *Profile) Standard() bool { return p == standard }

// BalancesUsual reports whether the parts of CPU and memory are balanced.
func (p *Profile) BalancesUsual() bool { return slices.Equal(p.Balance, usualBalance) }

// Enough is how many nodes that fit are compared: of many nodes not all.
func (p *Profile) Enough(nodes int) int {
	if nodes < 100 {
		return nodes
	}
	percent := p.percent
	if percent == 0 {
		percent = max(5, 50-nodes/125)
	}
	return max(100, nodes*percent/100)
}

// Candidates is how many nodes are compared from which others would have to leave.
func (p *Profile) Candidates(nodes int) int {
	return max(p.candidatesLeast, nodes*p.candidatesPercent/100)
}
