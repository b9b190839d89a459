package placement

import (
	"math"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/scheduler/placement/profile"
)

// byResources scores what a node has left.
func (c *cycle) byResources(n *nodeInfo) int64 {
	if c.standing != nil && c.standing.scores[n.slot] >= 0 {
		return int64(c.standing.scores[n.slot])
	}
	var score int64
	if w := &c.p.profile.Weights; w.Fit|w.Balance > 0 {
		score = w.Fit*free(c.p, n) + w.Balance*balance(c.p, n)
	}
	if c.standing != nil && score <= math.MaxInt16 {
		c.standing.scores[n.slot] = int16(score)
	}
	return score
}

// free is how much of the resources would be left, or what else the profile goes by.
func free(p *podInfo, n *nodeInfo) int64 {
	if !p.profile.Fit.Usual() {
		return p.profile.Fit.Score(func(name corev1.ResourceName) (used, have int64) {
			on, of := &n.scored, &p.scored
			if name != corev1.ResourceCPU && name != corev1.ResourceMemory {
				on, of = &n.requested, &p.exact
			}
			return amounts(name, on, of, &n.allocatable)
		})
	}
	var sum, parts int64
	part := func(used, have int64) {
		if have == 0 {
			return
		}
		parts++
		if used <= have {
			sum += (have - used) * highest / have
		}
	}
	part(n.scored.milliCPU+p.scored.milliCPU, n.allocatable.milliCPU)
	part(n.scored.memory+p.scored.memory, n.allocatable.memory)
	if parts == 0 {
		return 0
	}
	return sum / parts
}

// amounts are how much of a resource would be in use with a pod's part, and how much
// there is. An extended resource counts only for pods that ask for it.
func amounts(name corev1.ResourceName, on, of, have *resources) (used, all int64) {
	if wants := of.of(name); wants != 0 || common(name) {
		return on.of(name) + wants, have.of(name)
	}
	return 0, 0
}

// common reports whether a resource is no extended one.
func common(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage
}

// of is the amount of one resource.
func (r *resources) of(name corev1.ResourceName) int64 {
	switch name {
	case corev1.ResourceCPU:
		return r.milliCPU
	case corev1.ResourceMemory:
		return r.memory
	case corev1.ResourceEphemeralStorage:
		return r.ephemeral
	default:
		return r.others[name]
	}
}

// balance is higher the closer the pod brings the used parts of the node's resources;
// 0 for pods that ask for none of them.
func balance(p *podInfo, n *nodeInfo) int64 {
	if !p.profile.BalancesUsual() {
		return balanceOf(p, n)
	}
	if p.bestEffort {
		return 0
	}
	even := func(milliCPU, memory int64) int64 {
		if n.allocatable.milliCPU == 0 || n.allocatable.memory == 0 {
			return highest
		}
		cpu := min(1, float64(milliCPU)/float64(n.allocatable.milliCPU))
		mem := min(1, float64(memory)/float64(n.allocatable.memory))
		return int64((1 - math.Abs(cpu-mem)/2) * highest)
	}
	with := even(n.requested.milliCPU+p.exact.milliCPU, n.requested.memory+p.exact.memory)
	return highest/2 + (highest/2+with-even(n.requested.milliCPU, n.requested.memory))/2
}

// balanceOf is for other resources than CPU and memory.
func balanceOf(p *podInfo, n *nodeInfo) int64 {
	var with, without []float64
	asks := false
	for _, name := range p.profile.Balance {
		wants := p.exact.of(name)
		asks = asks || wants != 0
		used, have := amounts(name, &n.requested, &p.exact, &n.allocatable)
		if have == 0 {
			continue
		}
		with = append(with, min(1, float64(used)/float64(have)))
		without = append(without, min(1, float64(used-wants)/float64(have)))
	}
	if !asks {
		return 0
	}
	return highest/2 + (highest/2+profile.Even(with)-profile.Even(without))/2
}
