package placement

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Snapshot is the nodes, and what the pods on them take.
type Snapshot struct {
	nodes map[string]*nodeInfo
	// on says where each pod is counted.
	on map[types.UID]string
	// ordered are the known nodes by name; nil after a node came or went.
	ordered []*nodeInfo
}

// nodeInfo is one node. node is nil as long as only its pods are known.
type nodeInfo struct {
	name        string
	node        *corev1.Node
	allocatable resources
	maxPods     int64
	requested   resources
	scored      resources
	pods        map[types.UID]*podInfo
	owners      map[types.UID]int
	ports       map[hostPort]int
}

type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

// podInfo is what counts of a pod, worked out once.
type podInfo struct {
	pod           *corev1.Pod
	exact, scored resources
	ports         []hostPort
	owner         types.UID
	affinity      nodeaffinity.RequiredNodeAffinity
	preferred     *nodeaffinity.PreferredSchedulingTerms
}

// NewSnapshot makes an empty snapshot.
func NewSnapshot() *Snapshot {
	return &Snapshot{nodes: map[string]*nodeInfo{}, on: map[types.UID]string{}}
}

// Len is the number of nodes.
func (s *Snapshot) Len() int { return len(s.list()) }

func (s *Snapshot) list() []*nodeInfo {
	if s.ordered == nil {
		s.ordered = make([]*nodeInfo, 0, len(s.nodes))
		for _, name := range slices.Sorted(maps.Keys(s.nodes)) {
			if n := s.nodes[name]; n.node != nil {
				s.ordered = append(s.ordered, n)
			}
		}
	}
	return s.ordered
}

func (s *Snapshot) info(name string) *nodeInfo {
	n := s.nodes[name]
	if n == nil {
		n = &nodeInfo{name: name, pods: map[types.UID]*podInfo{}, owners: map[types.UID]int{}, ports: map[hostPort]int{}}
		s.nodes[name] = n
	}
	return n
}

// SetNode adds or replaces a node.
func (s *Snapshot) SetNode(node *corev1.Node) {
	n := s.info(node.Name)
	if n.node == nil {
		s.ordered = nil
	}
	n.node = node
	n.allocatable = resourcesOf(node.Status.Allocatable)
	n.maxPods = 0
	if q, ok := node.Status.Allocatable[corev1.ResourcePods]; ok {
		n.maxPods = q.Value()
	}
}

// RemoveNode forgets a node; pods on it are remembered until they are removed.
func (s *Snapshot) RemoveNode(name string) {
	if n := s.nodes[name]; n != nil {
		n.node = nil
		s.ordered = nil
		s.drop(n)
	}
}

// SetPod counts a pod on its node, replacing what was known of it. A pod that
// has no node, or whose containers have all ended, takes nothing.
func (s *Snapshot) SetPod(pod *corev1.Pod) {
	s.RemovePod(pod.UID)
	if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return
	}
	s.place(newPodInfo(pod), pod.Spec.NodeName)
}

// Assume counts a pod on a node that it is not bound to yet.
func (s *Snapshot) Assume(pod *corev1.Pod, node string) {
	s.RemovePod(pod.UID)
	s.place(newPodInfo(pod), node)
}

func (s *Snapshot) place(p *podInfo, node string) {
	n := s.info(node)
	n.pods[p.pod.UID] = p
	s.on[p.pod.UID] = node
	n.count(p, 1)
}

// RemovePod forgets a pod.
func (s *Snapshot) RemovePod(uid types.UID) {
	node, ok := s.on[uid]
	if !ok {
		return
	}
	delete(s.on, uid)
	n := s.nodes[node]
	n.count(n.pods[uid], -1)
	delete(n.pods, uid)
	s.drop(n)
}

// drop forgets a node of which nothing is known any more.
func (s *Snapshot) drop(n *nodeInfo) {
	if n.node == nil && len(n.pods) == 0 {
		delete(s.nodes, n.name)
	}
}

// On returns the node on which a pod is counted, empty if it is not.
func (s *Snapshot) On(uid types.UID) string { return s.on[uid] }

func (n *nodeInfo) count(p *podInfo, sign int) {
	n.requested.add(p.exact, int64(sign))
	n.scored.add(p.scored, int64(sign))
	for _, port := range p.ports {
		if n.ports[port] += sign; n.ports[port] <= 0 {
			delete(n.ports, port)
		}
	}
	if p.owner != "" {
		if n.owners[p.owner] += sign; n.owners[p.owner] <= 0 {
			delete(n.owners, p.owner)
		}
	}
}

func newPodInfo(pod *corev1.Pod) *podInfo {
	p := &podInfo{pod: pod, affinity: nodeaffinity.GetRequiredNodeAffinity(pod)}
	p.exact, p.scored = requests(pod)
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		p.owner = ref.UID
	}
	for i := range pod.Spec.Containers {
		p.addPorts(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			p.addPorts(c)
		}
	}
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		// A term that cannot be read only prefers nothing.
		p.preferred, _ = nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return p
}

func (p *podInfo) addPorts(c *corev1.Container) {
	for _, port := range c.Ports {
		if port.HostPort <= 0 {
			continue
		}
		h := hostPort{ip: port.HostIP, protocol: port.Protocol, port: port.HostPort}
		if h.ip == "" {
			h.ip = anyAddress
		}
		if h.protocol == "" {
			h.protocol = corev1.ProtocolTCP
		}
		p.ports = append(p.ports, h)
	}
}
