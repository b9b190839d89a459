package node

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/node/topology"
)

// What kube-controller-manager does without flags about it.
const (
	// usualPace is the time between two nodes of a zone whose pods are evicted
	// (--node-eviction-rate), slowPace that in a large zone in which many fail
	// (--secondary-node-eviction-rate).
	usualPace, slowPace = 10 * time.Second, 100 * time.Second
	// many is the part of a zone's nodes that fail if it is the zone that does
	// (--unhealthy-zone-threshold).
	many = 0.55
	// large is a zone with more nodes (--large-cluster-size-threshold).
	large = 50
	// excluded is the label of nodes that nothing is concluded from.
	excluded = "node.kubernetes.io/exclude-disruption"
)

// Eviction is what may become of the pods of a node that fails.
type Eviction int

const (
	// Begin is that they are evicted.
	Begin Eviction = iota
	// Hold is that they are evicted only if that has begun.
	Hold
	// Stop is that they are not.
	Stop
)

// Zones knows how many nodes of each zone are ready. If many fail at the same
// time, it is rather the network than they: then their pods go more slowly, and not
// at all if no node is left.
type Zones struct {
	mu    sync.Mutex
	nodes map[string]place
	zones map[string]*zone
	ready int
	// changed: nodes may be judged otherwise than before.
	changed bool
}

// place is what a node counts as.
type place struct {
	zone  string
	ready bool
}

// zone is a zone with a node at least.
type zone struct {
	ready, failed int
	began         time.Time // when the pods of the last node went
}

// Set notes whether a node is ready.
func (z *Zones) Set(node *corev1.Node, ready bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.set(node, ready)
}

func (z *Zones) set(node *corev1.Node, ready bool) {
	next := place{topology.GetZoneKey(node), ready}
	_, skip := node.Labels[excluded]
	if before, ok := z.nodes[node.Name]; ok && !skip && before == next {
		return
	}
	z.update(func() {
		z.remove(node.Name)
		if skip {
			return
		}
		if z.nodes == nil {
			z.nodes, z.zones = map[string]place{}, map[string]*zone{}
		}
		z.nodes[node.Name] = next
		of := z.zones[next.zone]
		if of == nil {
			of = &zone{}
			z.zones[next.zone] = of
		}
		if ready {
			z.ready++
			of.ready++
		} else {
			of.failed++
		}
	}, node.Name, next.zone)
}

// Remove forgets a node that is gone.
func (z *Zones) Remove(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.update(func() { z.remove(name) }, name, "")
}

// update notices whether a change of one node matters to others.
func (z *Zones) update(change func(), name, to string) {
	state := func(zone string) (int, bool) { return z.state(zone), z.lost() }
	from := z.nodes[name].zone
	was, wasLost := state(from)
	before, _ := state(to)
	change()
	is, isLost := state(from)
	after, _ := state(to)
	z.changed = z.changed || was != is || before != after || wasLost != isLost
}

func (z *Zones) remove(name string) {
	before, ok := z.nodes[name]
	if !ok {
		return
	}
	delete(z.nodes, name)
	of := z.zones[before.zone]
	if before.ready {
		z.ready--
		of.ready--
	} else {
		of.failed--
	}
	if of.ready+of.failed == 0 {
		delete(z.zones, before.zone)
	}
}

// lost reports whether there are nodes and none is ready.
func (z *Zones) lost() bool { return len(z.nodes) > 0 && z.ready == 0 }

// The states of a zone.
const (
	usual = iota
	failing
	failingLarge
)

func (z *Zones) state(name string) int {
	of := z.zones[name]
	if of == nil {
		return usual
	}
	n := of.ready + of.failed
	switch {
	case of.ready == 0 || of.failed <= 2 || float32(of.failed)/float32(n) < many:
		return usual
	case n > large:
		return failingLarge
	}
	return failing
}

// Changed reports whether nodes may be judged otherwise than at the last call.
func (z *Zones) Changed() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	changed := z.changed
	z.changed = false
	return changed
}

// Judge notes whether a node is ready, and returns what may become of its pods if it is
// not, and if its turn has not come yet, when to ask again.
func (z *Zones) Judge(node *corev1.Node, ready bool, now time.Time) (Eviction, time.Duration) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.set(node, ready)
	if ready {
		return Begin, 0
	}
	if z.lost() {
		return Stop, 0
	}
	name := topology.GetZoneKey(node)
	pace := usualPace
	switch z.state(name) {
	case failing:
		return Hold, 0
	case failingLarge:
		pace = slowPace
	}
	if of := z.zones[name]; of != nil && !of.began.IsZero() {
		if left := of.began.Add(pace).Sub(now); left > 0 {
			return Hold, left
		}
	}
	return Begin, 0
}

// Began notes that the eviction of a node's pods begins.
func (z *Zones) Began(node *corev1.Node, now time.Time) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if of := z.zones[topology.GetZoneKey(node)]; of != nil {
		of.began = now
	}
}
