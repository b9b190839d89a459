package placement

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/scheduler/placement/match"
)

// highest is the highest score; each is weighed as the profile says.
const highest = 100

// Sizes of images between which having one counts more the larger it is.
const (
	smallImage = 23 << 20
	largeImage = 1000 << 20
)

// best returns the best of the nodes that fit.
func (c *cycle) best(nodes []*nodeInfo, by order) (best *nodeInfo) {
	if len(nodes) == 1 {
		return nodes[0]
	}
	scores := slices.Grow(c.s.scores[:0], len(nodes))[:len(nodes)]
	c.s.scores = scores
	for i, n := range nodes {
		scores[i] = c.byResources(n)
	}
	w := &c.p.profile.Weights
	for _, by := range [...]struct {
		weight int64
		score  func([]*nodeInfo, []int64, int64)
	}{{w.Taints, c.scoreTaints}, {w.Preferred, c.scorePreferred}, {w.Spread, c.scoreSpread}, {w.Between, c.scoreBetween}, {w.Images, c.scoreImages}} {
		if by.weight > 0 {
			by.score(nodes, scores, by.weight)
		}
	}
	bestScore, bestTie := int64(-1), uint64(0)
	for i, n := range nodes {
		if scores[i] < bestScore {
			continue
		}
		if t := by.of(n); scores[i] > bestScore || t > bestTie {
			best, bestScore, bestTie = n, scores[i], t
		}
	}
	return best
}

// scoreTaints prefers nodes with fewer taints that only ask not to be chosen.
func (c *cycle) scoreTaints(nodes []*nodeInfo, scores []int64, weight int64) {
	if c.s.shunned == 0 {
		return
	}
	var counts []int64
	var most int64
	for i, n := range nodes {
		if len(n.node.Spec.Taints) == 0 {
			continue
		}
		if counts == nil {
			counts = make([]int64, len(nodes))
		}
		for _, t := range n.node.Spec.Taints {
			if t.Effect == corev1.TaintEffectPreferNoSchedule && !tolerates(c.p.pod.Spec.Tolerations, t) {
				counts[i]++
			}
		}
		most = max(most, counts[i])
	}
	for i := range scores {
		score := int64(highest)
		if most > 0 {
			score -= highest * counts[i] / most
		}
		scores[i] += weight * score
	}
}

func (c *cycle) scorePreferred(nodes []*nodeInfo, scores []int64, weight int64) {
	if c.p.preferred == nil && c.p.profile.Preferred == nil {
		return
	}
	weights := make([]int64, len(nodes))
	var most int64
	for i, n := range nodes {
		weights[i] = c.preferred(n)
		most = max(most, weights[i])
	}
	if most == 0 {
		return
	}
	for i := range scores {
		scores[i] += weight * (highest * weights[i] / most)
	}
}

// scoreSpread prefers the domains with fewer of the pods that are to be spread.
func (c *cycle) scoreSpread(nodes []*nodeInfo, scores []int64, weight int64) {
	if len(c.p.soft) == 0 {
		return
	}
	strict := !c.p.soft[0].System
	list := c.spreads(nil, c.p.soft, strict)
	ignored := make([]bool, len(nodes))
	rated := 0
	for i, n := range nodes {
		for j := range list {
			ignored[i] = ignored[i] || strict && list[j].top.of[n.slot] == none
		}
		if !ignored[i] {
			rated++
		}
	}
	weights := make([]float64, len(list))
	for j := range list {
		size := rated
		if list[j].top.key != corev1.LabelHostname {
			size = list[j].among(nodes, ignored)
		}
		weights[j] = math.Log(float64(size + 2))
	}
	raw := make([]int64, len(nodes))
	least, most := int64(math.MaxInt64), int64(0)
	for i, n := range nodes {
		if ignored[i] {
			continue
		}
		var sum float64
		for j := range list {
			if d := list[j].top.of[n.slot]; d != none {
				sum += float64(list[j].near(n, d))*weights[j] + float64(list[j].MaxSkew-1)
			}
		}
		raw[i] = int64(math.Round(sum))
		least, most = min(least, raw[i]), max(most, raw[i])
	}
	for i := range scores {
		switch {
		case ignored[i]:
		case most == 0:
			scores[i] += weight * highest
		default:
			scores[i] += weight * (highest * (most + least - raw[i]) / most)
		}
	}
}

// near is how many of the pods are in the node's domain. Those of the node itself
// count whatever the constraint says of other nodes.
func (x *spread) near(n *nodeInfo, domain int32) int64 {
	if x.top.key == corev1.LabelHostname {
		return x.of.nodes[n.slot]
	}
	return at(x.counts, domain)
}

// among counts the domains of some nodes; those without the label are one.
func (x *spread) among(nodes []*nodeInfo, ignored []bool) int {
	found := map[int32]struct{}{}
	for i, n := range nodes {
		if !ignored[i] {
			found[x.top.of[n.slot]] = struct{}{}
		}
	}
	return len(found)
}

// pull is what a domain's pods weigh.
type pull struct {
	domains
	weight int64
}

// scoreBetween weighs preferred affinity between the pod and others, theirs
// included, and required affinity of others with a weight of the profile.
func (c *cycle) scoreBetween(nodes []*nodeInfo, scores []int64, weight int64) {
	if c.p.profile.OwnOnly && len(c.p.drawn)+len(c.p.shy) == 0 {
		return
	}
	var pulls []pull
	own := func(list []*match.Term, sign int64) {
		for _, t := range list {
			top := c.s.topology(t.Topology)
			pulls = append(pulls, pull{domains{top, c.s.tallyOf(false, &t.Matcher).by(top)}, sign * t.Weight})
		}
	}
	own(c.p.drawn, 1)
	own(c.p.shy, -1)
	c.s.byTerm.Each(c.p.pod, func(x *carrier) {
		if x.kind == carriesRepel || !x.term.Matches(c.p.pod, c.s.namespaces) {
			return
		}
		weight := x.term.Weight
		switch x.kind {
		case carriesAttract:
			weight = c.p.profile.HardWeight
		case carriesShy:
			weight = -weight
		case carriesRepel, carriesDrawn:
		}
		top := c.s.topology(x.term.Topology)
		pulls = append(pulls, pull{domains{top, x.by(top)}, weight})
	})
	if len(pulls) == 0 {
		return
	}
	sums := make([]int64, len(nodes))
	least, most := int64(math.MaxInt64), int64(math.MinInt64)
	for i, n := range nodes {
		for _, x := range pulls {
			sums[i] += x.weight * at(x.counts, x.top.of[n.slot])
		}
		least, most = min(least, sums[i]), max(most, sums[i])
	}
	if most == least {
		return
	}
	for i := range scores {
		scores[i] += weight * int64(highest*(float64(sums[i]-least)/float64(most-least)))
	}
}

// scoreImages prefers nodes that have the pod's images, the more the larger they
// are and the more nodes have them.
func (c *cycle) scoreImages(nodes []*nodeInfo, scores []int64, weight int64) {
	if len(c.s.images) == 0 || len(c.p.images) == 0 {
		return
	}
	all := float64(len(c.s.list()))
	largest := int64(largeImage * len(c.p.images))
	for i, n := range nodes {
		var sum int64
		for _, name := range c.p.images {
			if known := c.s.images[name]; known != nil {
				if _, has := known.on[n.slot]; has {
					sum += int64(float64(known.size) * float64(len(known.on)) / all)
				}
			}
		}
		sum = min(max(sum, smallImage), largest)
		scores[i] += weight * (highest * (sum - smallImage) / (largest - smallImage))
	}
}
