// Package admit contains the checks that the store makes at the point of
// commit, for what must hold between objects: things are created only in
// namespaces that exist and are not being deleted, and custom resources only while
// there is their definition, no two Services have the same cluster IP or node port, no two PriorityClasses are the default,
// and nothing is used beyond the quotas of a namespace. What can be judged before, and may take its
// time, is up to engine/admission.
//
//	admission, err := admit.New(admit.Config{ServiceCIDR: cidr})
//	store.Open(store.Options{Admit: admission.Hooks(), Along: admission.Along, Observe: admission.Observe, …})
//
// # Concurrency
//
// The store's writer goroutine calls the hooks and Observe, one at a time.
// Which addresses are taken is read from an index, never by going through all
// Services: what Observe saw committed, and what hooks gave out since. Both
// are checked against the transaction's view, so that transactions that fail
// leave nothing behind.
package admit

import (
	"fmt"
	"net/netip"
	"time"

	"headway.dev/engine/quota"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Config of the checks.
type Config struct {
	// ServiceCIDR is the range of the Services' cluster IPs. Its first address
	// is kept for the Service default/kubernetes.
	ServiceCIDR netip.Prefix
	// ServiceCIDR6 is the range of their second family; zero: there is none.
	ServiceCIDR6 netip.Prefix
	// NodePorts is the range of the node ports (default 30000-32767).
	NodePorts PortRange
	// RootCA are the certificates, in PEM, by which pods verify the API.
	// Empty: namespaces get no ConfigMap with them.
	RootCA []byte
	// Kinds are the kinds of the store, whose objects quotas count, and which errors name
	// (default: Headway's own).
	Kinds quota.Kinds
	// Now defaults to time.Now.
	Now func() time.Time
}

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last int32 }

// String is "first-last".
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// Admission is the set of checks for one store.
type Admission struct {
	services *services
	rootCA   []byte
	kinds    quota.Kinds
	quotas   quota.Quotas
}

// New fails if a range is of no use.
func New(c Config) (*Admission, error) {
	if c.NodePorts == (PortRange{}) {
		c.NodePorts = PortRange{30000, 32767}
	}
	if c.NodePorts.First < 1 || c.NodePorts.Last > 65535 || c.NodePorts.Last < c.NodePorts.First {
		return nil, fmt.Errorf("node port range %s: must lie in 1-65535", c.NodePorts)
	}
	addresses4, err := newAddresses(c.ServiceCIDR)
	if err != nil {
		return nil, err
	}
	ranges := []addresses{addresses4}
	if c.ServiceCIDR6.IsValid() {
		six, err := newAddresses6(c.ServiceCIDR6)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, six)
	}
	if c.Kinds == nil {
		c.Kinds = &scheme.Registry{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Admission{services: newServices(ranges, c.NodePorts), rootCA: c.RootCA, kinds: c.Kinds, quotas: quota.Quotas{Kinds: c.Kinds, Now: c.Now}}, nil
}

// KubernetesIP is the cluster IP of the Service default/kubernetes.
func (a *Admission) KubernetesIP() netip.Addr { return a.services.ranges[0].at(1) }

// Hooks are the checks in the order in which they have to run.
func (a *Admission) Hooks() []store.Admit {
	return []store.Admit{a.namespaces, a.defined, PriorityClasses, a.services.admit, a.recalculate}
}

// Observe is for store.Options.Observe.
func (a *Admission) Observe(events []object.Event) { a.services.observe(events) }
