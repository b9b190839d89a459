package placement

import (
	"math"

	corev1 "k8s.io/api/core/v1"
)

// The weights of the scores, each of which is between 0 and 100.
const (
	weightFree      = 1
	weightBalance   = 1
	weightSpread    = 2
	weightPreferred = 2
	weightTaints    = 3

	highest = 100
)

// pick returns the best of the nodes that fit.
func pick(p *podInfo, nodes []*nodeInfo, tie func(node string) uint64) (best *nodeInfo) {
	if len(nodes) == 1 {
		return nodes[0]
	}
	var (
		most, mostTaints int64
		mostPreferred    int64
		owned            = make([]int64, len(nodes))
		taints           = make([]int64, len(nodes))
		preferred        = make([]int64, len(nodes))
	)
	for i, n := range nodes {
		owned[i] = int64(n.owners[p.owner])
		most = max(most, owned[i])
		taints[i] = avoided(p.pod, n.node)
		mostTaints = max(mostTaints, taints[i])
		if p.preferred != nil {
			preferred[i] = p.preferred.Score(n.node)
			mostPreferred = max(mostPreferred, preferred[i])
		}
	}
	bestScore, bestTie := int64(-1), uint64(0)
	for i, n := range nodes {
		score := weightFree*free(p, n) + weightBalance*balance(p, n) +
			weightSpread*inverse(owned[i], most) + weightTaints*inverse(taints[i], mostTaints)
		if mostPreferred > 0 {
			score += weightPreferred * highest * preferred[i] / mostPreferred
		}
		t := tie(n.name)
		if score > bestScore || score == bestScore && t > bestTie {
			best, bestScore, bestTie = n, score, t
		}
	}
	return best
}

// inverse is highest for none and 0 for most.
func inverse(n, most int64) int64 {
	if most == 0 {
		return highest
	}
	return highest * (most - n) / most
}

// free is how much of CPU and memory would be left.
func free(p *podInfo, n *nodeInfo) int64 {
	part := func(used, have int64) int64 {
		if have == 0 || used > have {
			return 0
		}
		return (have - used) * highest / have
	}
	return (part(n.scored.milliCPU+p.scored.milliCPU, n.allocatable.milliCPU) +
		part(n.scored.memory+p.scored.memory, n.allocatable.memory)) / 2
}

// balance is higher the closer the used parts of CPU and memory are.
func balance(p *podInfo, n *nodeInfo) int64 {
	if n.allocatable.milliCPU == 0 || n.allocatable.memory == 0 {
		return 0
	}
	cpu := math.Min(1, float64(n.scored.milliCPU+p.scored.milliCPU)/float64(n.allocatable.milliCPU))
	memory := math.Min(1, float64(n.scored.memory+p.scored.memory)/float64(n.allocatable.memory))
	return int64((1 - math.Abs(cpu-memory)/2) * highest)
}

// avoided counts the node's taints that only ask not to be chosen.
func avoided(pod *corev1.Pod, node *corev1.Node) int64 {
	var n int64
	for _, t := range node.Spec.Taints {
		if t.Effect == corev1.TaintEffectPreferNoSchedule && !tolerates(pod.Spec.Tolerations, t) {
			n++
		}
	}
	return n
}
