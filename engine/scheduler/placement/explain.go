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
	Reasons []string `json:"reasons,omitempty"`
	// Final reports whether it would not fit on the empty node either.
	Final bool `json:"final,omitempty"`
	// Detail adds what Kubernetes' words omit, such as which taint.
	Detail string `json:"detail,omitempty"`
}

// Failure is why a pod fits on no node.
type Failure struct {
	Nodes []Verdict
	never bool
}

// Explain asks every node whether the pod fits, in the order of their names.
func Explain(pod *corev1.Pod, s *Snapshot) []Verdict {
	p := newPodInfo(pod)
	verdicts := make([]Verdict, 0, s.Len())
	for _, n := range s.list() {
		v := filterOthers(p, n)
		verdicts = append(verdicts, Verdict{n.name, v.reasons, v.final, v.detail})
	}
	return verdicts
}

// filterOthers does not let a pod that is on the node stand in its own way.
func filterOthers(p *podInfo, n *nodeInfo) verdict {
	own := n.pods[p.pod.UID]
	if own == nil {
		return filter(p, n)
	}
	n.count(own, -1)
	delete(n.pods, p.pod.UID)
	v := filter(p, n)
	n.pods[p.pod.UID] = own
	n.count(own, 1)
	return v
}

// Fits reports whether a pod fits on the node of that name.
func Fits(pod *corev1.Pod, s *Snapshot, node string) bool {
	n := s.nodes[node]
	return n != nil && n.node != nil && len(filter(newPodInfo(pod), n).reasons) == 0
}

// Pick chooses the node for a pod, or returns why there is none. Equal inputs
// give equal choices; seed determines which of equally good nodes is chosen.
func Pick(pod *corev1.Pod, s *Snapshot, seed uint64) (string, *Failure) {
	p := newPodInfo(pod)
	nodes := s.list()
	var fitting []*nodeInfo
	for _, n := range nodes {
		if v := filter(p, n); len(v.reasons) == 0 {
			fitting = append(fitting, n)
		}
	}
	if len(fitting) > 0 {
		return pick(p, fitting, tie(pod, seed)).name, nil
	}
	f := &Failure{never: pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy == corev1.PreemptNever}
	for _, n := range nodes {
		v := filter(p, n)
		f.Nodes = append(f.Nodes, Verdict{n.name, v.reasons, v.final, v.detail})
	}
	return "", f
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
	reasons, preemption := map[string]int{}, map[string]int{}
	for _, v := range f.Nodes {
		for _, r := range v.Reasons {
			reasons[r]++
		}
		if v.Final {
			preemption["Preemption is not helpful for scheduling"]++
		} else {
			preemption["No preemption victims found for incoming pod"]++
		}
	}
	message := fmt.Sprintf("0/%d nodes are available: %s.", len(f.Nodes), histogram(reasons))
	if f.never {
		return message + " preemption: not eligible due to preemptionPolicy=Never."
	}
	return fmt.Sprintf("%s preemption: 0/%d nodes are available: %s.", message, len(f.Nodes), histogram(preemption))
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
