// Package nodepolicy is what the server tells a node of NetworkPolicies: which of its
// pods are isolated, what may pass to and from them, and which addresses the peers
// have. It is a stream of [Change]s, one JSON value a line, the first of which is
// everything; [State] is what they add up to. Servers of one version later only add
// fields.
package nodepolicy

import (
	"maps"
	"net/netip"

	"k8s.io/apimachinery/pkg/types"
)

// Path is where the server serves the stream of a node, with the node's name in it.
func Path(node string) string { return Prefix + node + Suffix }

const (
	// Prefix is before the name of the node in Path.
	Prefix = "/headway/v1/nodes/"
	// Suffix is behind it.
	Suffix = "/policies"
)

// The groups that are no selectors'.
const (
	// Nodes are the addresses by which nodes' own programs reach pods, which no policy
	// keeps out.
	Nodes = "nodes"
	// Everything is all pods: for named ports of peers that are no pods in particular.
	Everything = "everyone"
)

// State is what a node knows, and Change what becomes different in it. A nil value is
// something that is gone; what a change does not name stays.
type State struct {
	// Pods are those of the node, isolated or not.
	Pods map[types.UID]*Pod `json:"pods,omitempty"`
	// Profiles are what may pass, for the pods that name them.
	Profiles map[string]*Profile `json:"profiles,omitempty"`
	// Groups are the members of selectors, by pod.
	Groups map[string]map[types.UID]*Member `json:"groups,omitempty"`
}

// Change is one of the stream. One without anything says that the server is there.
type Change struct {
	State
	// Revision is the state of the store that the change leads to.
	Revision uint64 `json:"revision,omitempty"`
	// Reset says that what it does not name is gone.
	Reset bool `json:"reset,omitempty"`
	// Gone are the groups that nothing names any more.
	Gone []string `json:"gone,omitempty"`
}

// Pod is a pod of the node that has a network of its own.
type Pod struct {
	// Ingress and Egress name the profiles of the pod; empty: it is not isolated.
	Ingress string      `json:"ingress,omitempty"`
	Egress  string      `json:"egress,omitempty"`
	Ports   []NamedPort `json:"ports,omitempty"`
}

// Profile is what may pass in one direction: what one of the rules allows.
type Profile struct {
	Egress bool   `json:"egress,omitempty"`
	Rules  []Rule `json:"rules,omitempty"`
}

// Rule allows connections with peers to ports.
type Rule struct {
	// Any says that everybody is a peer. Else those of Groups and Blocks are.
	Any    bool     `json:"any,omitempty"`
	Groups []string `json:"groups,omitempty"`
	Blocks []Block  `json:"blocks,omitempty"`
	// Ports are empty if all are allowed, also those of protocols without ports.
	Ports []Port `json:"ports,omitempty"`
}

// Block is a range of addresses without some parts.
type Block struct {
	CIDR   netip.Prefix   `json:"cidr"`
	Except []netip.Prefix `json:"except,omitempty"`
}

// Port is a port, a range of them, or the name that pods have for one.
type Port struct {
	Protocol string `json:"protocol"` // TCP, UDP or SCTP
	// First and Last are both 0 for all ports of the protocol.
	First uint16 `json:"first,omitempty"`
	Last  uint16 `json:"last,omitempty"`
	Name  string `json:"name,omitempty"`
}

// Member is a pod of a group.
type Member struct {
	IPs   []netip.Addr `json:"ips"`
	Ports []NamedPort  `json:"ports,omitempty"`
}

// NamedPort is a port of a container that has a name.
type NamedPort struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port"`
}

// Empty reports whether the change says nothing.
func (c *Change) Empty() bool {
	return !c.Reset && len(c.Pods) == 0 && len(c.Profiles) == 0 && len(c.Groups) == 0 && len(c.Gone) == 0
}

// Apply makes the state what it is after the change.
func (s *State) Apply(c *Change) {
	if c.Reset || s.Pods == nil {
		*s = State{Pods: map[types.UID]*Pod{}, Profiles: map[string]*Profile{}, Groups: map[string]map[types.UID]*Member{}}
	}
	merge(s.Pods, c.Pods)
	merge(s.Profiles, c.Profiles)
	for _, id := range c.Gone {
		delete(s.Groups, id)
	}
	for id, members := range c.Groups {
		if s.Groups[id] == nil {
			s.Groups[id] = map[types.UID]*Member{}
		}
		merge(s.Groups[id], members)
	}
}

func merge[K comparable, V any](into, from map[K]*V) {
	maps.Copy(into, from)
	for k, v := range from {
		if v == nil {
			delete(into, k)
		}
	}
}
