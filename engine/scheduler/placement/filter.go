package placement

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	scheduling "k8s.io/component-helpers/scheduling/corev1"

	"headway.dev/engine/scheduler/placement/profile"
	"headway.dev/engine/scheduler/volumes"
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
	// ByVolumes: claims and volumes.
	ByVolumes
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
	enforced  = &verdict{[]string{"node(s) didn't match scheduler-enforced node affinity"}, true, ByNode}
	unnamed   = &verdict{[]string{"node(s) didn't satisfy plugin(s) [NodeAffinity]"}, true, ByNode}
	portTaken = &verdict{[]string{"node(s) didn't have free ports for the requested pod ports"}, false, ByRoom}
	skewed    = &verdict{[]string{"node(s) didn't match pod topology spread constraints"}, false, ByPods}
	unlabeled = &verdict{[]string{"node(s) didn't match pod topology spread constraints (missing required label)"}, true, ByNode | ByPods}
	unattract = &verdict{[]string{"node(s) didn't match pod affinity rules"}, true, ByPods}
	repelled  = &verdict{[]string{"node(s) didn't match pod anti-affinity rules"}, false, ByPods}
	barred    = &verdict{[]string{"node(s) didn't satisfy existing pods anti-affinity rules"}, false, ByPods}
)

// volumeVerdicts are those about volumes.
var volumeVerdicts = map[volumes.Refusal]*verdict{
	volumes.InUse:     {[]string{"node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"}, false, ByPods | ByVolumes},
	volumes.Gone:      {[]string{"node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"}, true, ByVolumes},
	volumes.Elsewhere: {[]string{"node(s) didn't match PersistentVolume's node affinity"}, true, ByVolumes},
	volumes.NotFound:  {[]string{"node(s) didn't find available persistent volumes to bind"}, true, ByVolumes},
}

// static are the verdicts that depend on the node's object only, by the code
// under which a template keeps them. unread is none yet.
var static = [...]*verdict{nil, nil, cordoned, otherName, tainted, unaffine, enforced}

const (
	unread byte = iota
	fine
	isCordoned
	isOtherName
	isTainted
	isUnaffine
	isEnforced
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

func templateOf(p *podInfo, s *Snapshot) *template {
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
		return c.p.prefers(n.node)
	}
	if c.template.preferred[n.slot] < 0 {
		c.template.preferred[n.slot] = c.p.prefers(n.node)
	}
	return c.template.preferred[n.slot]
}

// prefers is how much the preferences of the pod and of its profile weigh for a node.
func (p *podInfo) prefers(node *corev1.Node) (weight int64) {
	if p.preferred != nil {
		weight += p.preferred.Score(node)
	}
	if p.profile.Preferred != nil {
		weight += p.profile.Preferred.Score(node)
	}
	return weight
}

// alike is equal for pods to which a node says the same, as far as rules between pods
// are not asked.
type alike struct {
	template                    string
	milliCPU, memory, ephemeral int64
	scoredCPU, scoredMemory     int64
	portsAndOthers              string
}

func (p *podInfo) alike() alike {
	a := alike{p.template, p.exact.milliCPU, p.exact.memory, p.exact.ephemeral, p.scored.milliCPU, p.scored.memory, ""}
	if len(p.ports) > 0 || len(p.exact.others) > 0 {
		a.portsAndOthers = fmt.Sprint(p.ports, p.exact.others)
	}
	return a
}

// standing keeps what each node says to pods that are alike, until something of the
// node changes, and how many say what.
type standing struct {
	codes  []byte  // for each slot: an index of known
	scores []int16 // for each slot: by resources; -1 before it is known
	known  []*verdict
	counts []int  // for each of known
	seen   uint64 // how much of the snapshot's changes
	used   uint64
}

// The codes of a standing that are always known.
const (
	isUnread byte = iota
	isFit
	isUnknown // there is no such node
)

// mostOthers is of how many extended resources each combination of what lacks gets a
// code; few pods ask for more.
const mostOthers = 2

// standingOf returns the standing for a pod; nil if none is kept.
func standingOf(p *podInfo, s *Snapshot) *standing {
	if p.one || len(p.exact.others) > mostOthers {
		return nil
	}
	key := p.alike()
	t := s.standings[key]
	if t == nil {
		if len(s.standings) >= mostTemplates {
			maps.DeleteFunc(s.standings, func(_ alike, t *standing) bool { return t.used+mostTemplates/2 < s.cycles })
		}
		t = &standing{known: make([]*verdict, isUnknown+1), counts: make([]int, isUnknown+1), seen: s.changes.end()}
		s.standings[key] = t
	}
	t.used = s.cycles
	t.follow(s)
	return t
}

// follow forgets what the nodes said that changed since.
func (t *standing) follow(s *Snapshot) {
	changed, all := s.changes.since(t.seen)
	t.seen = s.changes.end()
	for _, slot := range changed {
		if int(slot) < len(t.codes) {
			t.set(slot, isUnread)
		}
	}
	if all {
		for slot := range t.codes {
			t.set(int32(slot), isUnread)
		}
	}
	for len(t.codes) < len(s.slots) {
		t.codes, t.scores = append(t.codes, isUnread), append(t.scores, -1)
		t.counts[isUnread]++
	}
}

func (t *standing) set(slot int32, code byte) {
	t.counts[t.codes[slot]]--
	t.counts[code]++
	t.codes[slot], t.scores[slot] = code, -1
}

// note keeps what the node of a slot said.
func (t *standing) note(slot int32, v *verdict) {
	if v == nil {
		t.set(slot, isFit)
		return
	}
	for code := int(isUnknown) + 1; code < len(t.known); code++ {
		if k := t.known[code]; k == v || k.final == v.final && slices.Equal(k.reasons, v.reasons) {
			t.set(slot, byte(code))
			return
		}
	}
	t.known, t.counts = append(t.known, v), append(t.counts, 0)
	t.set(slot, byte(len(t.known)-1))
}

// alone asks a node without rules between pods.
func (c *cycle) alone(n *nodeInfo) *verdict {
	if c.standing == nil || c.trying == n {
		return c.ask(n)
	}
	if c.standing.codes[n.slot] == isUnread {
		c.standing.note(n.slot, c.ask(n))
	}
	return c.standing.known[c.standing.codes[n.slot]]
}

// nowhere reports whether no node has room, and then how many say what.
func (c *cycle) nowhere() (refusals, bool) {
	t := c.standing
	if t == nil || t.counts[isFit] > 0 {
		return nil, false
	}
	for t.counts[isUnread] > 0 {
		slot := int32(bytes.IndexByte(t.codes, isUnread))
		if n := c.s.slots[slot]; n == nil || n.node == nil {
			t.set(slot, isUnknown)
		} else if t.note(slot, c.ask(n)); t.codes[slot] == isFit {
			return nil, false
		}
	}
	refused := refusals{}
	for code, n := range t.counts {
		if v := t.known[code]; v != nil && n > 0 {
			refused[v] = n
		}
	}
	return refused, true
}

// changes are the slots of the nodes of which something changed, the latest of them.
type changes struct {
	slots []int32
	first uint64 // how many are forgotten
}

const mostChanges = 4096

func (x *changes) add(slot int32) {
	if len(x.slots) == mostChanges {
		x.slots = append(x.slots[:0], x.slots[mostChanges/2:]...)
		x.first += mostChanges / 2
	}
	x.slots = append(x.slots, slot)
}

func (x *changes) end() uint64 { return x.first + uint64(len(x.slots)) }

// since returns those after the first seen ones, or that all may have changed.
func (x *changes) since(seen uint64) (slots []int32, all bool) {
	if seen < x.first {
		return nil, true
	}
	return x.slots[seen-x.first:], false
}

func (p *podInfo) judge(node *corev1.Node) byte {
	spec := &p.pod.Spec
	if node.Spec.Unschedulable && p.profile.Has(profile.NodeUnschedulable) && !tolerates(spec.Tolerations, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}) {
		return isCordoned
	}
	if spec.NodeName != "" && spec.NodeName != node.Name && p.profile.Has(profile.NodeName) {
		return isOtherName
	}
	if p.profile.Has(profile.TaintToleration) && p.untolerated(node) != nil {
		return isTainted
	}
	if !p.profile.Has(profile.NodeAffinity) {
		return fine
	}
	if p.profile.Required != nil && !p.profile.Required.Match(node) {
		return isEnforced
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
