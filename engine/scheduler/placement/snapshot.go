package placement

import (
	"cmp"
	"hash/fnv"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/engine/scheduler/placement/match"
	"headway.dev/engine/scheduler/placement/profile"
	"headway.dev/engine/scheduler/volumes"
)

// Snapshot is the nodes, and what the pods on them take.
type Snapshot struct {
	nodes map[string]*nodeInfo
	// on has the pods that are counted.
	on map[types.UID]*podInfo
	// slots number the nodes; free are the numbers that no node has.
	slots []*nodeInfo
	free  []int32
	// ordered are the known nodes, one of each zone in turn, by name; nil after
	// a node came, went or changed its zone.
	ordered []*nodeInfo
	// last is what was worked out last of a pod; the others are used again.
	last    *podInfo
	fitting []*nodeInfo
	scores  []int64

	namespaces match.Namespaces
	nominated  map[string][]*podInfo // pods without a node, by the one that is kept for them
	keptFor    map[types.UID]string  // their nodes
	priorities levels                // of all pods on nodes
	images     map[string]*image
	templates  map[string]*template
	standings  map[alike]*standing
	changes    changes
	shunned    int // nodes that have a taint which only asks not to be chosen

	topologies map[string]*topology
	tallies    map[string]*tally
	byMatcher  match.Index[*tally]
	carriers   map[string]*carrier
	byTerm     match.Index[*carrier]
	owners     map[types.UID]*counts

	// Profiles say how pods are scheduled. They are set before anything else.
	Profiles profile.Profiles
	// Volumes says what the claims of pods have, which is not asked for if it is nil.
	Volumes *volumes.State

	cycles uint64 // how many pods were looked at
	// version changes with the pods and the nodes.
	version uint64
}

// nodeInfo is one node. node is nil as long as only its pods are known.
type nodeInfo struct {
	name        string
	hash        uint64 // of the name
	slot        int32
	node        *corev1.Node
	allocatable resources
	maxPods     int64
	requested   resources
	scored      resources
	pods        map[types.UID]*podInfo
	priorities  levels
	ports       map[hostPort]int
}

// image is one that some nodes have.
type image struct {
	size int64
	on   map[int32]struct{}
}

// NewSnapshot makes an empty snapshot.
func NewSnapshot() *Snapshot {
	return &Snapshot{
		nodes: map[string]*nodeInfo{}, on: map[types.UID]*podInfo{}, namespaces: match.Namespaces{}, nominated: map[string][]*podInfo{}, keptFor: map[types.UID]string{},
		images: map[string]*image{}, templates: map[string]*template{}, standings: map[alike]*standing{}, topologies: map[string]*topology{},
		tallies: map[string]*tally{}, byMatcher: match.Index[*tally]{}, carriers: map[string]*carrier{}, byTerm: match.Index[*carrier]{}, owners: map[types.UID]*counts{},
	}
}

// Len is the number of nodes.
func (s *Snapshot) Len() int { return len(s.list()) }

func (s *Snapshot) list() []*nodeInfo {
	if s.ordered != nil {
		return s.ordered
	}
	zones := map[string][]*nodeInfo{}
	known := 0
	for _, n := range s.nodes {
		if n.node != nil {
			zone := n.node.Labels[corev1.LabelTopologyRegion] + "/" + n.node.Labels[corev1.LabelTopologyZone]
			zones[zone] = append(zones[zone], n)
			known++
		}
	}
	names := slices.Sorted(maps.Keys(zones))
	for _, zone := range names {
		slices.SortFunc(zones[zone], func(a, b *nodeInfo) int { return cmp.Compare(a.name, b.name) })
	}
	s.ordered = make([]*nodeInfo, 0, known)
	for i := 0; len(s.ordered) < known; i++ {
		for _, zone := range names {
			if i < len(zones[zone]) {
				s.ordered = append(s.ordered, zones[zone][i])
			}
		}
	}
	return s.ordered
}

func (s *Snapshot) info(name string) *nodeInfo {
	n := s.nodes[name]
	if n == nil {
		h := fnv.New64a()
		_, _ = h.Write([]byte(name))
		n = &nodeInfo{name: name, hash: h.Sum64(), pods: map[types.UID]*podInfo{}, ports: map[hostPort]int{}}
		if len(s.free) > 0 {
			n.slot, s.free = s.free[len(s.free)-1], s.free[:len(s.free)-1]
			s.slots[n.slot] = n
		} else {
			n.slot = int32(len(s.slots))
			s.slots = append(s.slots, n)
			for _, t := range s.topologies {
				t.of = append(t.of, none)
			}
			for _, t := range s.templates {
				t.grow()
			}
		}
		s.nodes[name] = n
	}
	return n
}

// SetNode adds or replaces a node.
func (s *Snapshot) SetNode(node *corev1.Node) {
	n := s.info(node.Name)
	before := n.node
	n.node = node
	if before == nil || before.Labels[corev1.LabelTopologyZone] != node.Labels[corev1.LabelTopologyZone] || before.Labels[corev1.LabelTopologyRegion] != node.Labels[corev1.LabelTopologyRegion] {
		s.ordered = nil
	}
	if before == nil || !maps.Equal(before.Labels, node.Labels) {
		s.relabel(n.slot, before, node)
	}
	if before == nil || !maps.Equal(before.Labels, node.Labels) || before.Spec.Unschedulable != node.Spec.Unschedulable ||
		!apiequality.Semantic.DeepEqual(before.Spec.Taints, node.Spec.Taints) {
		s.reread(n.slot)
	}
	n.allocatable = resourcesOf(node.Status.Allocatable)
	n.maxPods = 0
	if q, ok := node.Status.Allocatable[corev1.ResourcePods]; ok {
		n.maxPods = q.Value()
	}
	s.setImages(n.slot, before, node)
	s.shunned += shuns(node) - shuns(before)
	s.changed(n)
}

// changed notes that something of a node is another.
func (s *Snapshot) changed(n *nodeInfo) {
	s.version++
	s.changes.add(n.slot)
}

// shuns is 1 if a node has a taint that only asks not to be chosen.
func shuns(node *corev1.Node) int {
	if node != nil && slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectPreferNoSchedule }) {
		return 1
	}
	return 0
}

// setImages notes which images a node has; either may be nil.
func (s *Snapshot) setImages(slot int32, before, after *corev1.Node) {
	var had, has []corev1.ContainerImage
	if before != nil {
		had = before.Status.Images
	}
	if after != nil {
		has = after.Status.Images
	}
	if len(had) == 0 && len(has) == 0 || apiequality.Semantic.DeepEqual(had, has) {
		return
	}
	for _, i := range had {
		for _, name := range i.Names {
			if known := s.images[name]; known != nil {
				if delete(known.on, slot); len(known.on) == 0 {
					delete(s.images, name)
				}
			}
		}
	}
	for _, i := range has {
		for _, name := range i.Names {
			if s.images[name] == nil {
				s.images[name] = &image{on: map[int32]struct{}{}}
			}
			s.images[name].size = max(s.images[name].size, i.SizeBytes)
			s.images[name].on[slot] = struct{}{}
		}
	}
}

// RemoveNode forgets a node; pods on it are remembered until they are removed.
func (s *Snapshot) RemoveNode(name string) {
	n := s.nodes[name]
	if n == nil || n.node == nil {
		return
	}
	before := n.node
	n.node, s.ordered = nil, nil
	s.relabel(n.slot, before, nil)
	s.setImages(n.slot, before, nil)
	s.shunned -= shuns(before)
	s.changed(n)
	s.drop(n)
}

// SetNamespace notes the labels of a namespace, and reports whether they changed.
func (s *Snapshot) SetNamespace(name string, of map[string]string) bool {
	if known, ok := s.namespaces[name]; ok && labels.Equals(known, of) {
		return false
	}
	s.namespaces[name] = of
	s.renamespaced()
	return true
}

// RemoveNamespace forgets a namespace.
func (s *Snapshot) RemoveNamespace(name string) {
	if len(s.namespaces[name]) > 0 {
		defer s.renamespaced()
	}
	delete(s.namespaces, name)
}

// renamespaced forgets what was counted by the labels of namespaces.
func (s *Snapshot) renamespaced() {
	s.version++
	for id, t := range s.tallies {
		if slices.ContainsFunc(t.matchers, func(m *match.Matcher) bool { return m.Within != nil }) {
			s.byMatcher.Remove(t.matchers[0], id)
			delete(s.tallies, id)
		}
	}
}

// SetPod counts a pod on its node, replacing what was known of it. A pod that
// has no node, or whose containers have all ended, takes nothing.
func (s *Snapshot) SetPod(pod *corev1.Pod) {
	s.RemovePod(pod.UID)
	if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return
	}
	s.place(newPodInfo(pod, s), s.info(pod.Spec.NodeName))
}

// Assume counts a pod on a node that it is not bound to yet.
func (s *Snapshot) Assume(pod *corev1.Pod, node string) {
	s.RemovePod(pod.UID)
	s.place(s.read(pod), s.info(node))
	s.last = nil
}

// Nominate keeps a node for a pod that waits until others have left it; an empty
// name keeps none.
func (s *Snapshot) Nominate(pod *corev1.Pod, node string) {
	s.unnominate(pod.UID)
	if node != "" {
		s.nominated[node], s.keptFor[pod.UID] = append(s.nominated[node], newPodInfo(pod, s)), node
		s.version++
	}
}

func (s *Snapshot) unnominate(uid types.UID) {
	node, ok := s.keptFor[uid]
	if !ok {
		return
	}
	delete(s.keptFor, uid)
	s.nominated[node] = slices.DeleteFunc(s.nominated[node], func(p *podInfo) bool { return p.pod.UID == uid })
	if len(s.nominated[node]) == 0 {
		delete(s.nominated, node)
	}
	s.version++
}

// read works out what counts of a pod, once in a row.
func (s *Snapshot) read(pod *corev1.Pod) *podInfo {
	if s.last == nil || s.last.pod != pod {
		s.last = newPodInfo(pod, s)
	}
	return s.last
}

func (s *Snapshot) place(p *podInfo, n *nodeInfo) {
	s.unnominate(p.pod.UID)
	s.on[p.pod.UID] = p
	s.put(p, n)
	s.changed(n)
}

// put counts a pod on a node; lift takes it off again. Who does not do both says that
// the node has changed.
func (s *Snapshot) put(p *podInfo, n *nodeInfo) {
	p.node = n
	n.pods[p.pod.UID] = p
	s.count(p, 1)
}

func (s *Snapshot) lift(p *podInfo) {
	s.count(p, -1)
	delete(p.node.pods, p.pod.UID)
}

func (s *Snapshot) count(p *podInfo, sign int64) {
	n := p.node
	s.version++
	n.requested.add(&p.exact, sign)
	n.scored.add(&p.scored, sign)
	for _, port := range p.ports {
		if n.ports[port] += int(sign); n.ports[port] <= 0 {
			delete(n.ports, port)
		}
	}
	s.priorities.add(p.priority, int(sign))
	n.priorities.add(p.priority, int(sign))
	s.tallied(p, sign)
	s.carry(p, sign)
	s.Volumes.Count(p.pod.Namespace, p.claims, int(sign))
	if p.owner != "" && !p.leaving {
		of := s.owners[p.owner]
		if of == nil {
			c := newCounts()
			of = &c
			s.owners[p.owner] = of
		}
		if of.add(n.slot, sign); len(of.nodes) == 0 {
			delete(s.owners, p.owner)
		}
	}
}

// RemovePod forgets a pod.
func (s *Snapshot) RemovePod(uid types.UID) {
	p := s.on[uid]
	if p == nil {
		s.unnominate(uid)
		return
	}
	s.lift(p)
	s.changed(p.node)
	delete(s.on, uid)
	s.drop(p.node)
}

// drop forgets a node of which nothing is known any more.
func (s *Snapshot) drop(n *nodeInfo) {
	if n.node == nil && len(n.pods) == 0 {
		delete(s.nodes, n.name)
		s.slots[n.slot] = nil
		s.free = append(s.free, n.slot)
		s.reread(n.slot)
	}
}

// On returns the node on which a pod is counted, empty if it is not.
func (s *Snapshot) On(uid types.UID) string {
	if p := s.on[uid]; p != nil {
		return p.node.name
	}
	return ""
}
