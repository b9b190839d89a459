package placement

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	scheduling "k8s.io/component-helpers/scheduling/corev1"
)

// Kubernetes' words for why nobody has to leave.
const (
	notHelpful = "Preemption is not helpful for scheduling"
	noVictims  = "No preemption victims found for incoming pod"
)

// Budget is how many of some pods may be disrupted, as a PodDisruptionBudget says.
type Budget struct {
	Namespace string
	Selector  labels.Selector
	Allowed   int32
	// Disrupted are the names of pods that Allowed counts as gone already.
	Disrupted map[string]metav1.Time
}

// Guards reports whether a pod that has to leave is taken from the budget. As in
// Kubernetes, a budget that selects everything or a pod without labels guards nothing
// here.
func (b *Budget) Guards(pod *corev1.Pod) bool {
	if b.Namespace != pod.Namespace || len(pod.Labels) == 0 || b.Selector == nil || b.Selector.Empty() || !b.Selector.Matches(labels.Set(pod.Labels)) {
		return false
	}
	_, gone := b.Disrupted[pod.Name]
	return !gone
}

// Preemption is a node on which a pod fits once others have left it.
type Preemption struct {
	Node string
	// Victims have to leave, the most important first. They do not include pods
	// that are leaving already, so there may be none.
	Victims []*corev1.Pod
	// Violations is how many of them budgets do not allow to leave.
	Violations int
	// Nominated lost the node, which had been kept for them.
	Nominated []*corev1.Pod
	rank      rank
}

// Preempt looks for a node on which the pod fits if less important pods leave it,
// after Pick has failed for it. It prefers nodes where budgets are kept, then
// those where the most important victim is the least important, and where fewer
// have to leave. No more leave than must. It adds to f what came of it, and
// returns nil if nobody's leaving would help.
func Preempt(pod *corev1.Pod, s *Snapshot, f *Failure, budgets []Budget, seed uint64) *Preemption {
	p := s.read(pod)
	if f.nodes == 0 || !p.preempts() {
		return nil
	}
	s.cycles++
	c := newStandingCycle(p, s)
	if reason := c.waits(); reason != "" {
		f.preemption, f.Waits = reason, true
		return nil
	}
	if !s.priorities.below(p.priority) {
		return nil // what f says already
	}
	said, tried := map[string]int{}, 0
	var found []*Preemption
	kept := false
	nodes, start := c.candidates(tie(pod, seed))
	enough := p.profile.Candidates(len(nodes))
	for i := range nodes {
		n := nodes[(start+i)%len(nodes)]
		if !n.priorities.below(p.priority) {
			continue
		}
		if v := c.filter(n); v != nil && v.final {
			continue
		}
		tried++
		x, why := c.victims(n, budgets)
		if x == nil {
			for _, reason := range why {
				said[reason]++
			}
			continue
		}
		found = append(found, x)
		if kept = kept || x.Violations == 0; kept && len(found) >= enough {
			break
		}
	}
	if len(found) == 0 {
		said[noVictims] += f.nodes - f.final() - tried
		f.preempting(said)
		return nil
	}
	best := slices.MinFunc(found, comparePreemptions)
	for _, other := range s.nominated[best.Node] {
		if other.priority < p.priority {
			best.Nominated = append(best.Nominated, other.pod)
		}
	}
	f.preemption = fmt.Sprintf("found a potential placement for pod on node %s, preempting %d victims", best.Node, len(best.Victims))
	return best
}

// preempts reports whether others may have to leave for the pod.
func (p *podInfo) preempts() bool {
	policy := p.pod.Spec.PreemptionPolicy
	return p.profile.Preempts && (policy == nil || *policy != corev1.PreemptNever)
}

// waits says why a pod for which others leave already has nobody else leave.
func (c *cycle) waits() string {
	p := c.p
	n := c.s.nodes[p.pod.Status.NominatedNodeName]
	if n == nil {
		return ""
	}
	if n.node != nil {
		if v := c.filter(n); v != nil && v.final {
			return ""
		}
	}
	for _, other := range n.pods {
		if other.priority < p.priority && other.leaving && slices.ContainsFunc(other.pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonPreemptionByScheduler
		}) {
			return "not eligible due to a terminating pod on the nominated node."
		}
	}
	return ""
}

// victims returns who has to leave a node, or why that does not help.
func (c *cycle) victims(n *nodeInfo, budgets []Budget) (*Preemption, []string) {
	less := make([]*podInfo, 0, len(n.pods))
	for _, p := range n.pods {
		if p.priority < c.p.priority {
			less = append(less, p)
		}
	}
	if len(less) == 0 {
		return nil, []string{noVictims}
	}
	slices.SortFunc(less, compareImportance)
	try := c.try(n)
	off := make([]bool, len(less))
	defer func() {
		for i, p := range less {
			if off[i] {
				try.put(p)
			}
		}
		c.refresh()
		c.trying = nil
	}()
	for i, p := range less {
		off[i] = true
		try.lift(p)
	}
	if v := try.verdict(); v != nil {
		return nil, v.reasons
	}
	x := &Preemption{Node: n.name}
	violating := split(less, budgets)
	spare := func(violates bool) {
		for i, p := range less {
			if (violating != nil && violating[i]) != violates {
				continue
			}
			try.put(p)
			if off[i] = try.verdict() != nil; off[i] {
				try.lift(p)
				if violates && !p.leaving {
					x.Violations++
				}
			}
		}
	}
	spare(true)
	spare(false)
	if !slices.Contains(off, true) {
		return nil, []string{noVictims}
	}
	for i, p := range less {
		if off[i] && !p.leaving {
			x.Victims = append(x.Victims, p.pod)
		}
	}
	x.rank = rankOf(x.Victims)
	return x, nil
}

// trial is a node some of whose pods are put off and on again: in the snapshot, or
// only on paper if nothing but common resources matters.
type trial struct {
	c     *cycle
	n     *nodeInfo
	paper bool
	used  resources
	pods  int
}

func (c *cycle) try(n *nodeInfo) *trial {
	c.trying = n
	return &trial{c: c, n: n, paper: c.plain(n), used: n.requested, pods: len(n.pods)}
}

func (t *trial) put(p *podInfo) {
	if t.paper {
		t.used.addCommon(&p.exact, 1)
		t.pods++
	} else {
		t.c.s.put(p, t.n)
	}
}

func (t *trial) lift(p *podInfo) {
	if t.paper {
		t.used.addCommon(&p.exact, -1)
		t.pods--
	} else {
		t.c.s.lift(p)
	}
}

func (t *trial) verdict() *verdict {
	if t.paper {
		return t.n.fitsBeside(t.c.p, &t.used, t.pods)
	}
	t.c.refresh()
	return t.c.filter(t.n)
}

// compareImportance orders pods by who may stay rather: those that do not leave
// anyway, of a higher priority, that run longer.
func compareImportance(a, b *podInfo) int {
	if x := cmp.Or(compareBools(a.leaving, b.leaving), cmp.Compare(b.priority, a.priority), a.since.Compare(b.since)); x != 0 {
		return x
	}
	return cmp.Or(
		cmp.Compare(a.pod.Namespace, b.pod.Namespace),
		cmp.Compare(a.pod.Name, b.pod.Name),
		cmp.Compare(a.pod.UID, b.pod.UID),
	)
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

func started(pod *corev1.Pod) time.Time {
	if pod.Status.StartTime != nil {
		return pod.Status.StartTime.Time
	}
	return pod.CreationTimestamp.Time
}

// split says which of the pods budgets do not allow to leave; nil for none.
func split(pods []*podInfo, budgets []Budget) []bool {
	if len(budgets) == 0 {
		return nil
	}
	violating, left := make([]bool, len(pods)), make([]int32, len(budgets))
	for i := range budgets {
		left[i] = budgets[i].Allowed
	}
	for at, p := range pods {
		for i := range budgets {
			if p.leaving || !budgets[i].Guards(p.pod) {
				continue
			}
			left[i]--
			violating[at] = violating[at] || left[i] < 0
		}
	}
	return violating
}

// rank is what is compared of those who have to leave.
type rank struct {
	top, sum int64
	since    time.Time
}

func rankOf(victims []*corev1.Pod) rank {
	r := rank{top: math.MinInt64}
	for i, v := range victims {
		p := int64(scheduling.PodPriority(v))
		r.sum += p + math.MaxInt32 + 1
		switch began := started(v); {
		case i == 0:
			r.top, r.since = p, began
		case p == r.top && began.Before(r.since):
			r.since = began
		}
	}
	return r
}

// comparePreemptions orders what is to be preferred first.
func comparePreemptions(a, b *Preemption) int {
	return cmp.Or(
		cmp.Compare(a.Violations, b.Violations),
		cmp.Compare(a.rank.top, b.rank.top),
		cmp.Compare(a.rank.sum, b.rank.sum),
		cmp.Compare(len(a.Victims), len(b.Victims)),
		b.rank.since.Compare(a.rank.since),
		cmp.Compare(a.Node, b.Node),
	)
}
