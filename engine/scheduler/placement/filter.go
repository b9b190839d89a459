package placement

import (
	"maps"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	scheduling "k8s.io/component-helpers/scheduling/corev1"
)

const anyAddress = "0.0.0.0"

// Cause says what refused a pod, so that it is known which changes may help it.
type Cause uint8

// The causes.
const (
	// ByNode: what the node's own object says.
	ByNode Cause = 1 << iota
	// ByRoom: resources and host ports.
	ByRoom
	// ByPods: affinity between pods, and spread.
	ByPods
)

// verdict is why a pod does not fit on a node; nil if it does.
type verdict struct {
	reasons []string
	// final says that it would not fit without the node's other pods either.
	final bool
	cause Cause
}

// Kubernetes' words for why a node is not taken.
var (
	cordoned  = &verdict{[]string{"node(s) were unschedulable"}, true, ByNode}
	otherName = &verdict{[]string{"node(s) didn't match the requested node name"}, true, ByNode}
	tainted   = &verdict{[]string{"node(s) had untolerated taint(s)"}, true, ByNode}
	unaffine  = &verdict{[]string{"node(s) didn't match Pod's node affinity/selector"}, true, ByNode}
	unnamed   = &verdict{[]string{"node(s) didn't satisfy plugin(s) [NodeAffinity]"}, true, ByNode}
	portTaken = &verdict{[]string{"node(s) didn't have free ports for the requested pod ports"}, false, ByRoom}
	skewed    = &verdict{[]string{"node(s) didn't match pod topology spread constraints"}, false, ByPods}
	unlabeled = &verdict{[]string{"node(s) didn't match pod topology spread constraints (missing required label)"}, true, ByNode | ByPods}
	unattract = &verdict{[]string{"node(s) didn't match pod affinity rules"}, true, ByPods}
	repelled  = &verdict{[]string{"node(s) didn't match pod anti-affinity rules"}, false, ByPods}
	barred    = &verdict{[]string{"node(s) didn't satisfy existing pods anti-affinity rules"}, false, ByPods}
)

// static are the verdicts that depend on the node's object only, by the code
// under which a template keeps them. unread is none yet.
var static = [...]*verdict{nil, nil, cordoned, otherName, tainted, unaffine}

const (
	unread byte = iota
	fine
	isCordoned
	isOtherName
	isTainted
	isUnaffine
)

// template keeps what nodes say to all pods of the same template.
type template struct {
	verdicts  []byte
	preferred []int64 // the weight of preferred terms and -1 before it is known
	used      uint64
}

// mostTemplates bounds how many are kept that are not being used.
const mostTemplates = 256

func (t *template) grow() {
	t.verdicts = append(t.verdicts, unread)
	t.preferred = append(t.preferred, -1)
}

func (s *Snapshot) templateOf(p *podInfo) *template {
	if p.one {
		return nil // few nodes, and no other pod is like it
	}
	t := s.templates[p.template]
	if t == nil {
		if len(s.templates) >= mostTemplates {
			maps.DeleteFunc(s.templates, func(_ string, t *template) bool { return t.used+mostTemplates/2 < s.cycles })
		}
		t = &template{}
		for range s.slots {
			t.grow()
		}
		s.templates[p.template] = t
	}
	t.used = s.cycles
	return t
}

// reread forgets what the node of a slot said.
func (s *Snapshot) reread(slot int32) {
	for _, t := range s.templates {
		t.verdicts[slot], t.preferred[slot] = unread, -1
	}
}

func (c *cycle) static(n *nodeInfo) *verdict {
	if c.template == nil {
		return static[c.p.judge(n.node)]
	}
	code := c.template.verdicts[n.slot]
	if code == unread {
		code = c.p.judge(n.node)
		c.template.verdicts[n.slot] = code
	}
	return static[code]
}

// preferred is how much the pod's preferences weigh for a node.
func (c *cycle) preferred(n *nodeInfo) int64 {
	if c.template == nil {
		return c.p.preferred.Score(n.node)
	}
	if c.template.preferred[n.slot] < 0 {
		c.template.preferred[n.slot] = c.p.preferred.Score(n.node)
	}
	return c.template.preferred[n.slot]
}

func (p *podInfo) judge(node *corev1.Node) byte {
	spec := &p.pod.Spec
	if node.Spec.Unschedulable && !tolerates(spec.Tolerations, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}) {
		return isCordoned
	}
	if spec.NodeName != "" && spec.NodeName != node.Name {
		return isOtherName
	}
	if p.untolerated(node) != nil {
		return isTainted
	}
	if p.narrowed {
		if ok, err := p.affinity.Match(node); err != nil || !ok {
			return isUnaffine
		}
	}
	return fine
}

// untolerated returns the first taint that keeps the pod off the node.
func (p *podInfo) untolerated(node *corev1.Node) *corev1.Taint {
	for i := range node.Spec.Taints {
		t := &node.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(p.pod.Spec.Tolerations, *t) {
			return t
		}
	}
	return nil
}

func tolerates(tolerations []corev1.Toleration, taint corev1.Taint) bool {
	return len(tolerations) > 0 && scheduling.TolerationsTolerateTaint(logr.Discard(), tolerations, &taint, false)
}

// taken reports whether a host port is in use; the wildcard address conflicts
// with every address.
func (n *nodeInfo) taken(want hostPort) bool {
	if want.ip != anyAddress {
		wildcard := want
		wildcard.ip = anyAddress
		return n.ports[want] > 0 || n.ports[wildcard] > 0
	}
	for have := range n.ports {
		if have.port == want.port && have.protocol == want.protocol {
			return true
		}
	}
	return false
}

// short are the verdicts about the resources that each node has, by the bits of
// those that do not suffice; the last bit is whether that is final.
var short = func() (list [1 << 5]*verdict) {
	for bits := range list {
		v := &verdict{final: bits&16 != 0, cause: ByRoom}
		for i, reason := range [...]string{"Too many pods", "Insufficient cpu", "Insufficient memory", "Insufficient ephemeral-storage"} {
			if bits&(1<<i) != 0 {
				v.reasons = append(v.reasons, reason)
			}
		}
		list[bits] = v
	}
	return list
}()

// fits compares what is left of each resource with what the pod requests.
func (n *nodeInfo) fits(p *podInfo) *verdict {
	bits := 0
	if int64(len(n.pods))+1 > n.maxPods {
		bits = 1
	}
	check := func(bit int, want, used, have int64) {
		if want > 0 && want > have-used {
			bits |= bit
			if want > have {
				bits |= 16
			}
		}
	}
	check(2, p.exact.milliCPU, n.requested.milliCPU, n.allocatable.milliCPU)
	check(4, p.exact.memory, n.requested.memory, n.allocatable.memory)
	check(8, p.exact.ephemeral, n.requested.ephemeral, n.allocatable.ephemeral)
	if len(p.exact.others) > 0 {
		if v := n.others(p, bits); v != nil {
			return v
		}
	}
	if bits == 0 {
		return nil
	}
	return short[bits]
}

// others adds extended resources and huge pages to what the bits say; nil if
// there are enough.
func (n *nodeInfo) others(p *podInfo, bits int) *verdict {
	v := &verdict{reasons: slices.Clone(short[bits].reasons), final: short[bits].final, cause: ByRoom}
	enough := true
	for _, name := range slices.Sorted(maps.Keys(p.exact.others)) {
		want, have := p.exact.others[name], n.allocatable.others[name]
		if want > 0 && want > have-n.requested.others[name] {
			enough = false
			v.reasons = append(v.reasons, "Insufficient "+string(name))
			v.final = v.final || want > have
		}
	}
	if enough {
		return nil
	}
	return v
}
