package placement

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/scheduler/placement/match"
	"headway.dev/engine/scheduler/volumes"
)

// Verdict is the answer of one node about a pod.
type Verdict struct {
	Node string `json:"node"`
	// Reasons why the pod does not fit, in Kubernetes' words; none if it does.
	// They are shared: they must not be changed.
	Reasons []string `json:"reasons,omitempty"`
	// Final reports whether it would not fit on the empty node either.
	Final bool `json:"final,omitempty"`
	// Detail adds what Kubernetes' words omit, such as which taint.
	Detail string `json:"detail,omitempty"`
}

// Failure is why a pod fits on no node.
type Failure struct {
	// Causes are those of all nodes.
	Causes Cause
	// Class is equal for pods that the same changes help.
	Class string
	// Waits is set by Preempt if others already leave the node that is kept for
	// the pod.
	Waits bool
	// nodes is how many there are, and refused how many say what.
	nodes   int
	refused refusals
	// whole is said instead of the nodes' reasons.
	whole      string
	preemption string
}

// refusals count the nodes by what they say.
type refusals map[*verdict]int

// run counts refusals of which many in a row are the same.
type run struct {
	refusals
	last *verdict
	n    int
}

func (r *run) add(v *verdict) {
	if v != r.last {
		r.end()
		r.last = v
	}
	r.n++
}

func (r *run) end() refusals {
	if r.n > 0 {
		r.refusals[r.last] += r.n
		r.n = 0
	}
	return r.refusals
}

// Explain asks every node whether the pod fits, in the order of their names.
func Explain(pod *corev1.Pod, s *Snapshot) []Verdict {
	if own := s.on[pod.UID]; own != nil {
		// A pod that is on a node does not stand in its own way.
		s.lift(own)
		defer s.put(own, own.node)
	}
	s.cycles++
	c := newCycle(newPodInfo(pod, s), s)
	verdicts := make([]Verdict, 0, s.Len())
	for _, n := range s.list() {
		c.refresh()
		v := Verdict{Node: n.name}
		if refused := c.filter(n); refused != nil {
			v.Reasons, v.Final = refused.reasons, refused.final
			if refused == tainted {
				// For operators only: a pod's status does not tell about taints.
				v.Detail = "taint " + c.p.untolerated(n.node).ToString()
			}
		}
		verdicts = append(verdicts, v)
	}
	slices.SortFunc(verdicts, func(a, b Verdict) int { return strings.Compare(a.Node, b.Node) })
	return verdicts
}

// Fits reports whether a pod fits on the node of that name.
func Fits(pod *corev1.Pod, s *Snapshot, node string) bool {
	n := s.nodes[node]
	if n == nil || n.node == nil {
		return false
	}
	s.cycles++
	return newCycle(s.read(pod), s).filter(n) == nil
}

// Helps reports whether a pod fits on the node of that name, or may if less important
// pods leave it.
func Helps(pod *corev1.Pod, s *Snapshot, node string) bool {
	n := s.nodes[node]
	if n == nil || n.node == nil {
		return false
	}
	s.cycles++
	p := s.read(pod)
	v := newCycle(p, s).filter(n)
	return v == nil || !v.final && p.preempts() && n.priorities.below(p.priority)
}

// Concerns reports whether a waiting pod's rules, or the other's, are about each
// other, so that the other's coming or going may let it fit.
func Concerns(waiting, other *corev1.Pod, s *Snapshot) bool {
	return concerns(s.read(waiting), newPodInfo(other, s), s)
}

// Pick chooses the node for a pod, or returns why there is none. Equal inputs
// give equal choices; seed determines which of equally good nodes is chosen, and
// of many nodes which are compared.
func Pick(pod *corev1.Pod, s *Snapshot, seed uint64) (string, *Failure) {
	s.cycles++
	c := newStandingCycle(s.read(pod), s)
	if c.needs != nil && c.needs.Whole != "" {
		f := c.failure(refusals{&verdict{[]string{c.needs.Whole}, true, ByVolumes}: s.Len()})
		f.whole = c.needs.Whole
		return "", f
	}
	if n := s.nodes[pod.Status.NominatedNodeName]; n != nil && n.node != nil && c.filter(n) == nil {
		return n.name, nil
	}
	if refused, nowhere := c.nowhere(); nowhere {
		return "", c.failure(refused)
	}
	by := tie(pod, seed)
	ask, start := c.candidates(by)
	want := c.p.profile.Enough(len(ask))
	refused := run{refusals: refusals{}}
	fitting := s.fitting[:0]
	for i := range ask {
		n := ask[(start+i)%len(ask)]
		if v := c.filter(n); v != nil {
			refused.add(v)
			continue
		}
		if fitting = append(fitting, n); len(fitting) == want {
			break
		}
	}
	s.fitting = fitting
	if len(fitting) > 0 {
		return c.best(fitting, by).name, nil
	}
	return "", c.failure(refused.end())
}

// VolumesOn returns what the claims of a pod need that has been picked a node.
func VolumesOn(pod *corev1.Pod, s *Snapshot, node string) volumes.Plan {
	p := s.read(pod)
	needs, n := s.Volumes.NeedsOf(pod, p.claims), s.nodes[node]
	if needs == nil || n == nil || n.node == nil {
		return volumes.Plan{}
	}
	plan, _ := needs.Bind(n.node)
	return plan
}

// candidates are the nodes to ask, and which of them first.
func (c *cycle) candidates(by order) (ask []*nodeInfo, start int) {
	ask = c.s.list()
	if c.p.one {
		ask = nil
		for _, name := range c.p.names {
			if n := c.s.nodes[name]; n != nil && n.node != nil {
				ask = append(ask, n)
			}
		}
	}
	if c.p.profile.Enough(len(ask)) < len(ask) {
		start = int(uint64(by) % uint64(len(ask)))
	}
	return ask, start
}

// failure tells how many nodes refused for what; those that were not asked have
// another name.
func (c *cycle) failure(refused refusals) *Failure {
	f := &Failure{Class: c.p.class(), nodes: c.s.Len(), refused: refused}
	asked := 0
	for v, n := range refused {
		f.Causes |= v.cause
		asked += n
	}
	if c.p.one {
		f.Causes |= ByNode
		if asked < f.nodes {
			refused[unnamed] = f.nodes - asked
		}
		if len(c.p.names) == 0 {
			f.whole = "pod affinity terms conflict"
		}
	}
	f.preempting(map[string]int{noVictims: f.nodes - f.final()})
	if policy := c.p.pod.Spec.PreemptionPolicy; policy != nil && *policy == corev1.PreemptNever {
		f.preemption = "not eligible due to preemptionPolicy=Never."
	}
	if !c.p.profile.Preempts {
		f.preemption = ""
	}
	return f
}

// final is how many nodes would not take the pod if they were empty either.
func (f *Failure) final() (nodes int) {
	for v, n := range f.refused {
		if v.final {
			nodes += n
		}
	}
	return nodes
}

// preempting notes why nobody's leaving helps, on the nodes where that is no matter of
// the node itself.
func (f *Failure) preempting(said map[string]int) {
	said[notHelpful] += f.final()
	maps.DeleteFunc(said, func(_ string, n int) bool { return n == 0 })
	f.preemption = fmt.Sprintf("0/%d nodes are available: %s.", f.nodes, histogram(said))
}

// Class is equal for pods of which all nodes say the same.
func Class(pod *corev1.Pod, s *Snapshot) string { return s.read(pod).class() }

// class is equal for pods of which the filters say the same.
func (p *podInfo) class() string {
	var b strings.Builder
	b.WriteString(p.profile.Name)
	fmt.Fprintf(&b, "/%d/%s/%d/%d/%d/%v/%v/%s/%v", p.priority, p.pod.Namespace, p.exact.milliCPU, p.exact.memory, p.exact.ephemeral, p.exact.others, p.ports, p.template, p.names)
	for _, list := range [][]*match.Term{p.attract, p.repel} {
		b.WriteByte('\n')
		for _, t := range list {
			b.WriteString(t.Topology + "=" + t.Key + ";")
		}
	}
	for _, k := range p.hard {
		if k.Owners {
			b.WriteString(string(p.owner))
		}
		fmt.Fprintf(&b, "\n%s %d %d %v %v %s", k.Topology, k.MaxSkew, k.MinDomains, k.Affinity, k.Taints, k.Key)
	}
	// Terms of others are about the labels.
	if len(p.claims) > 0 {
		fmt.Fprintf(&b, "\n%q", p.claims)
	}
	fmt.Fprintf(&b, "\n%v %s", p.pod.Labels, p.pod.Status.NominatedNodeName)
	return b.String()
}

// order is one of nodes of equal score, different for each pod.
type order uint64

func tie(pod *corev1.Pod, seed uint64) order {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d/%s/%s/%s/", seed, pod.UID, pod.Namespace, pod.Name)
	return order(h.Sum64())
}

// of is greater for the node that is to be taken rather.
func (o order) of(n *nodeInfo) uint64 {
	x := uint64(o) ^ n.hash
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Message is the text of the pod's condition and event.
func (f *Failure) Message() string {
	if f.nodes == 0 {
		return "no nodes available to schedule pods"
	}
	what := f.whole
	if what == "" {
		reasons := map[string]int{}
		for v, n := range f.refused {
			for _, r := range v.reasons {
				reasons[r] += n
			}
		}
		what = histogram(reasons)
	}
	message := fmt.Sprintf("0/%d nodes are available: %s.", f.nodes, what)
	if f.preemption != "" {
		message += " preemption: " + f.preemption
	}
	return message
}

// histogram is "1 a, 2 b", ordered as text.
func histogram(counts map[string]int) string {
	parts := make([]string, 0, len(counts))
	for reason, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
