package service

import (
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Family is an address family.
type Family uint8

// The address families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf returns the family of an address.
func FamilyOf(ip netip.Addr) Family {
	if ip.Is4() {
		return IPv4
	}
	return IPv6
}

// String returns "IPv4" or "IPv6".
func (f Family) String() string {
	if f == IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// Bits is the length of an address.
func (f Family) Bits() int {
	if f == IPv6 {
		return 128
	}
	return 32
}

// Config contains what is the same for all Services of a node.
type Config struct {
	// NodeName distinguishes the endpoints of this node from others.
	NodeName string
	// ServiceCIDRs are the ranges of cluster IPs; their families are those that
	// are served.
	ServiceCIDRs []netip.Prefix
	// ClusterCIDRs are the ranges of pod IPs, one for each family. Connections to
	// a cluster IP from elsewhere are masqueraded, so that the answers come back
	// through this node.
	ClusterCIDRs []netip.Prefix
	// NodeIPs are addresses of this node. Where the source ranges of a load balancer
	// have one of them, the node reaches the load balancer's address also if that is
	// an address of its own, which is the source then.
	NodeIPs []netip.Addr
	// NodePortAddresses are the ranges of this node's addresses that serve node
	// ports; none means all.
	NodePortAddresses []netip.Prefix
}

// Families lists the families that are served.
func (c Config) Families() []Family {
	var out []Family
	for _, f := range []Family{IPv4, IPv6} {
		if len(c.ServiceRanges(f)) > 0 {
			out = append(out, f)
		}
	}
	return out
}

// ServiceRanges are the ranges of cluster IPs of one family.
func (c Config) ServiceRanges(f Family) []netip.Prefix { return of(f, c.ServiceCIDRs) }

// PodRanges are the ranges of pod IPs of one family.
func (c Config) PodRanges(f Family) []netip.Prefix { return of(f, c.ClusterCIDRs) }

// NodeRanges are the ranges of node addresses that serve node ports, of one
// family. all is true if every address does.
func (c Config) NodeRanges(f Family) (ranges []netip.Prefix, all bool) {
	return of(f, c.NodePortAddresses), len(c.NodePortAddresses) == 0
}

func of(f Family, ranges []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range ranges {
		if r.IsValid() && FamilyOf(r.Addr()) == f {
			out = append(out, r.Masked())
		}
	}
	return out
}

// Refusal is what happens to a connection that no endpoint takes.
type Refusal uint8

// The ways to refuse.
const (
	// Reject answers that nobody listens.
	Reject Refusal = iota
	// Drop answers nothing, because other nodes do serve it.
	Drop
)

// Target is where connections lead.
type Target struct {
	Endpoints []netip.AddrPort
	// Otherwise is what happens if there are no endpoints.
	Otherwise Refusal
}

// Port is what a node does for one port of a Service in one address family.
type Port struct {
	// ID is short, and the same on every node and after every change of the
	// Service that keeps the port's name, protocol and number.
	ID string
	// Name is NAMESPACE/NAME or NAMESPACE/NAME:PORT, for people.
	Name     string
	Family   Family
	Protocol string // tcp, udp or sctp

	// The addresses that lead to it.
	ClusterIP       netip.Addr
	Number          uint16 // of the cluster IP, external IPs and load balancers
	NodePort        uint16 // 0 if there is none
	ExternalIPs     []netip.Addr
	LoadBalancerIPs []netip.Addr
	// SourceRanges are whom the load balancer's addresses serve, if Restricted.
	SourceRanges []netip.Prefix
	Restricted   bool

	Internal, External, Cluster Target
	// ExternalLocal is set where External is only this node's endpoints, so that
	// clients keep their address; or else external connections are masqueraded.
	ExternalLocal bool
	// Affinity is how long a client keeps its endpoint; 0 if it does not.
	Affinity time.Duration
	// Serving are all endpoints that serve, wherever they are, also those that
	// terminate: what flows there already may stay.
	Serving []netip.AddrPort
	// Hairpin are the endpoints of this node, which may reach themselves.
	Hairpin []netip.Addr
}

// HasExternal reports whether there is another address than the cluster IP.
func (p *Port) HasExternal() bool {
	return p.NodePort != 0 || len(p.ExternalIPs) > 0 || len(p.LoadBalancerIPs) > 0
}

// InternalIsCluster reports whether cluster IPs lead to the same endpoints as
// external addresses do for the cluster's own pods.
func (p *Port) InternalIsCluster() bool {
	return slices.Equal(p.Internal.Endpoints, p.Cluster.Endpoints)
}

// Health is what an external load balancer may ask the node.
type Health struct {
	Port uint16
	// Local is the number of this node's endpoints that are ready.
	Local int
}

// Decision is what a node does for one Service.
type Decision struct {
	Name types.NamespacedName
	UID  types.UID
	// Created is when the Service was: of two that name one address, the older has it.
	Created time.Time
	Ports   []Port
	Health  *Health // nil if there is nothing to ask
}

// Changes are decisions that differ from the ones before.
type Changes struct {
	// Of has the new decision, or nil where the Service is gone.
	Of map[types.NamespacedName]*Decision
	// All is set if Of has every Service that there is.
	All bool
}
