package placement

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
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
	Nodes []Verdict
	// Causes are those of all nodes.
	Causes Cause
	// Class is equal for pods that the same changes help.
	Class string
	// Waits is set by Preempt if others already leave the node that is kept for
	// the pod.
	Waits bool
	// whole is said instead of the nodes' reasons.
	whole      string
	preemption string
}

// Explain asks every node whether the pod fits, in the order of their names.
func Explain(pod *corev1.Pod, s *Snapshot) []Verdict {
	if own := s.on[pod.UID]; own != nil {
		// A pod that is on a node does not stand in its own way.
		s.lift(own)
		defer s.put(own, own.node)
	}
	s.cycles++
	c := newCycle(newPodInfo(pod), s)
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

// Concerns reports whether a waiting pod's rules, or the other's, are about each
// other, so that the other's coming or going may let it fit.
func Concerns(waiting, other *corev1.Pod, s *Snapshot) bool {
	return concerns(s.read(waiting), newPodInfo(other), s)
}

// Pick chooses the node for a pod, or returns why there is none. Equal inputs
// give equal choices; seed determines which of equally good nodes is chosen, and
// of many nodes which are compared.
func Pick(pod *corev1.Pod, s *Snapshot, seed uint64) (string, *Failure) {
	s.cycles++
	c := newCycle(s.read(pod), s)
	nodes, order := s.list(), tie(pod, seed)
	if n := s.nodes[pod.Status.NominatedNodeName]; n != nil && n.node != nil && c.filter(n) == nil {
		return n.name, nil
	}
	c.refresh()
	ask := nodes
	if c.p.one {
		ask = nil
		for _, name := range c.p.names {
			if n := s.nodes[name]; n != nil && n.node != nil {
				ask = append(ask, n)
			}
		}
	}
	want := enough(len(ask))
	start := 0
	if want < len(ask) {
		start = int(order("") % uint64(len(ask)))
	}
	fitting, verdicts := s.fitting[:0], s.verdicts[:0]
	for i := range ask {
		n := ask[(start+i)%len(ask)]
		c.refresh()
		v := c.filter(n)
		if v != nil {
			verdicts = append(verdicts, v)
			continue
		}
		if fitting = append(fitting, n); len(fitting) == want {
			break
		}
	}
	s.fitting, s.verdicts = fitting, verdicts
	if len(fitting) > 0 {
		c.refresh()
		return c.best(fitting, order).name, nil
	}
	return "", c.failure(nodes, ask, verdicts, start)
}

// failure tells of all nodes why they refused.
func (c *cycle) failure(nodes, asked []*nodeInfo, verdicts []*verdict, start int) *Failure {
	f := &Failure{Nodes: make([]Verdict, 0, len(nodes)), Class: c.p.class()}
	for i, v := range verdicts {
		f.Nodes = append(f.Nodes, Verdict{Node: asked[(start+i)%len(asked)].name, Reasons: v.reasons, Final: v.final})
		f.Causes |= v.cause
	}
	if c.p.one {
		f.Causes |= ByNode
		for _, n := range nodes {
			if !slices.Contains(asked, n) {
				f.Nodes = append(f.Nodes, Verdict{Node: n.name, Reasons: unnamed.reasons, Final: true})
			}
		}
		if len(c.p.names) == 0 {
			f.whole = "pod affinity terms conflict"
		}
	}
	preemption := map[string]int{}
	for _, v := range f.Nodes {
		if v.Final {
			preemption[notHelpful]++
		} else {
			preemption[noVictims]++
		}
	}
	f.preemption = fmt.Sprintf("0/%d nodes are available: %s.", len(f.Nodes), histogram(preemption))
	if policy := c.p.pod.Spec.PreemptionPolicy; policy != nil && *policy == corev1.PreemptNever {
		f.preemption = "not eligible due to preemptionPolicy=Never."
	}
	return f
}

// Class is equal for pods of which all nodes say the same.
func Class(pod *corev1.Pod, s *Snapshot) string { return s.read(pod).class() }

// class is equal for pods of which the filters say the same.
func (p *podInfo) class() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d/%s/%d/%d/%d/%v/%v/%s/%v", p.priority, p.pod.Namespace, p.exact.milliCPU, p.exact.memory, p.exact.ephemeral, p.exact.others, p.ports, p.template, p.names)
	for _, list := range [][]*term{p.attract, p.repel} {
		b.WriteByte('\n')
		for _, t := range list {
			b.WriteString(t.topology + "=" + t.key + ";")
		}
	}
	for _, k := range p.hard {
		fmt.Fprintf(&b, "\n%s %d %d %v %v %s", k.topology, k.maxSkew, k.minDomains, k.affinity, k.taints, k.key)
	}
	// Terms of others are about the labels.
	fmt.Fprintf(&b, "\n%v %s", p.pod.Labels, p.pod.Status.NominatedNodeName)
	return b.String()
}

// tie orders nodes of equal score, differently for each pod.
func tie(pod *corev1.Pod, seed uint64) func(string) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d/%s/%s/%s/", seed, pod.UID, pod.Namespace, pod.Name)
	start := h.Sum64()
	return func(node string) uint64 {
		x := start
		for i := range len(node) {
			x = (x ^ uint64(node[i])) * 1099511628211
		}
		return x ^ x>>29
	}
}

// Message is the text of the pod's condition and event.
func (f *Failure) Message() string {
	if len(f.Nodes) == 0 {
		return "no nodes available to schedule pods"
	}
	what := f.whole
	if what == "" {
		reasons := map[string]int{}
		for _, v := range f.Nodes {
			for _, r := range v.Reasons {
				reasons[r]++
			}
		}
		what = histogram(reasons)
	}
	return fmt.Sprintf("0/%d nodes are available: %s. preemption: %s", len(f.Nodes), what, f.preemption)
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
