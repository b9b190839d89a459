package placement

import (
	"math"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"headway.dev/engine/scheduler/placement/match"
	"headway.dev/engine/scheduler/placement/profile"
	"headway.dev/engine/scheduler/volumes"
)

// cycle is one look at one pod.
type cycle struct {
	s        *Snapshot
	p        *podInfo
	template *template
	needs    *volumes.Needs // nil for nothing
	// standing is nil if nothing is kept of what the nodes say.
	standing *standing
	// trying is a node whose pods are being put on and off.
	trying *nodeInfo
	// version is that of the snapshot for which the rest holds.
	version uint64

	hard                   []spread
	attract, repel, barred []domains
	first                  bool // no pod matches what it is attracted by, but itself
}

// domains are counts for each domain of a topology.
type domains struct {
	top    *topology
	counts []int64
}

// spread is a constraint with what it counts.
type spread struct {
	*match.Constraint
	domains
	of *counts
	// present are the domains that count; nil if all that have nodes do.
	present []bool
	least   int64
}

func newCycle(p *podInfo, s *Snapshot) *cycle {
	c := &cycle{s: s, p: p, template: templateOf(p, s), needs: s.Volumes.NeedsOf(p.pod, p.claims)}
	c.count()
	return c
}

// newStandingCycle is for a snapshot that is as its caller left it.
func newStandingCycle(p *podInfo, s *Snapshot) *cycle {
	c := newCycle(p, s)
	c.standing = standingOf(p, s)
	return c
}

// refresh follows the snapshot.
func (c *cycle) refresh() {
	if c.version != c.s.version {
		c.count()
	}
}

func (c *cycle) count() {
	c.version = c.s.version
	if len(c.p.hard) > 0 {
		c.hard = c.spreads(c.hard[:0], c.p.hard, true)
		for i := range c.hard {
			c.hard[i].least = c.hard[i].lowest()
		}
	}
	if !c.p.profile.Has(profile.InterPodAffinity) {
		return
	}
	c.countAttract()
	c.repel = c.repel[:0]
	for _, t := range c.p.repel {
		top := c.s.topology(t.Topology)
		c.repel = append(c.repel, domains{top, c.s.tallyOf(false, &t.Matcher).by(top)})
	}
	c.barred = c.barred[:0]
	c.s.byTerm.Each(c.p.pod, func(x *carrier) {
		if x.kind == carriesRepel && x.term.Matches(c.p.pod, c.s.namespaces) {
			top := c.s.topology(x.term.Topology)
			c.barred = append(c.barred, domains{top, x.by(top)})
		}
	})
}

func (c *cycle) countAttract() {
	c.attract = c.attract[:0]
	if len(c.p.attract) == 0 {
		return
	}
	all := make([]*match.Matcher, len(c.p.attract))
	for i, t := range c.p.attract {
		all[i] = &t.Matcher
	}
	tally := c.s.tallyOf(false, all...)
	some := false
	for _, t := range c.p.attract {
		top := c.s.topology(t.Topology)
		d := domains{top, tally.by(top)}
		c.attract = append(c.attract, d)
		some = some || slices.ContainsFunc(d.counts, func(n int64) bool { return n > 0 })
	}
	c.first = !some && match.All(all, c.p.pod, c.s.namespaces)
}

// spreads counts for constraints. With strict, only nodes that have the labels of
// all of them count.
func (c *cycle) spreads(into []spread, constraints []*match.Constraint, strict bool) []spread {
	began := len(into)
	for _, k := range constraints {
		top := c.s.topology(k.Topology)
		into = append(into, spread{Constraint: k, domains: domains{top: top}})
	}
	list := into[began:]
	for i := range list {
		x := &list[i]
		x.of = c.counted(x.Constraint)
		if c.uniform(x.Constraint, list, strict) {
			x.counts = x.of.by(x.top)
			continue
		}
		x.counts, x.present = make([]int64, len(x.top.nodes)), make([]bool, len(x.top.nodes))
		for _, n := range c.s.list() {
			d := x.top.of[n.slot]
			if d == none || strict && slices.ContainsFunc(list, func(o spread) bool { return o.top.of[n.slot] == none }) ||
				x.Affinity && c.p.narrowed && !c.allowed(n) || x.Taints && c.p.untolerated(n.node) != nil {
				continue
			}
			x.present[d] = true
			x.counts[d] += x.of.nodes[n.slot]
		}
	}
	return into
}

// counted are the pods that a constraint is about.
func (c *cycle) counted(k *match.Constraint) *counts {
	if !k.Owners {
		return &c.s.tallyOf(true, &k.Matcher).counts
	}
	if of := c.s.owners[c.p.owner]; of != nil {
		return of
	}
	empty := newCounts()
	return &empty
}

// uniform reports whether every node that has the label counts.
func (c *cycle) uniform(k *match.Constraint, all []spread, strict bool) bool {
	if k.Affinity && c.p.narrowed || k.Taints {
		return false
	}
	return !strict || len(all) == 1 || !slices.ContainsFunc(all, func(x spread) bool { return x.top.missing > 0 })
}

func (c *cycle) allowed(n *nodeInfo) bool {
	ok, err := c.p.affinity.Match(n.node)
	return ok && err == nil
}

// lowest is the count of the domain that has least; 0 if there are too few.
func (x *spread) lowest() int64 {
	least, found := int64(math.MaxInt32), int64(0)
	for d, nodes := range x.top.nodes {
		if x.present == nil && nodes > 0 || x.present != nil && x.present[d] {
			found++
			least = min(least, at(x.counts, int32(d)))
		}
	}
	if found < x.MinDomains {
		return 0
	}
	return least
}

// filter asks a node by itself, and besides with the pods for which it is kept, if they
// are no less important.
func (c *cycle) filter(n *nodeInfo) *verdict {
	if v := c.check(n); v != nil || len(c.s.nominated) == 0 {
		return v
	}
	with := c.keptFor(n)
	if len(with) == 0 {
		return nil
	}
	was := c.trying
	c.trying = n
	for _, p := range with {
		c.s.put(p, n)
	}
	c.refresh()
	v := c.check(n)
	for _, p := range with {
		c.s.lift(p)
	}
	c.refresh()
	c.trying = was
	return v
}

// keptFor are the pods for which a node is kept and which are no less important.
func (c *cycle) keptFor(n *nodeInfo) (with []*podInfo) {
	if len(c.s.nominated) == 0 {
		return nil
	}
	for _, p := range c.s.nominated[n.name] {
		if p.priority >= c.p.priority && p.pod.UID != c.p.pod.UID {
			with = append(with, p)
		}
	}
	return with
}

// check applies the filters in the order of the package's documentation; the
// first that refuses decides.
func (c *cycle) check(n *nodeInfo) *verdict {
	if v := c.alone(n); v != nil {
		return v
	}
	if c.needs != nil {
		if v := c.volumes(n); v != nil {
			return v
		}
	}
	for i := range c.hard {
		x := &c.hard[i]
		d := x.top.of[n.slot]
		if d == none {
			return unlabeled
		}
		if at(x.counts, d)+x.Self-x.least > x.MaxSkew {
			return skewed
		}
	}
	return c.between(n)
}

// ask asks a node without rules between pods and without what is kept.
func (c *cycle) ask(n *nodeInfo) *verdict {
	if v := c.static(n); v != nil {
		return v
	}
	if len(c.p.ports) > 0 && c.p.profile.Has(profile.NodePorts) && slices.ContainsFunc(c.p.ports, n.taken) {
		return portTaken
	}
	if !c.p.profile.Has(profile.NodeResourcesFit) {
		return nil
	}
	return n.fits(c.p)
}

// plain reports whether only the resources that every node has decide which of a
// node's pods are in the way.
func (c *cycle) plain(n *nodeInfo) bool {
	return c.p.profile.Has(profile.NodeResourcesFit) && c.needs == nil && len(c.hard)+len(c.attract)+len(c.repel)+len(c.barred)+len(c.p.ports)+len(c.p.exact.others) == 0 && len(c.keptFor(n)) == 0
}

// volumes asks for those of the pod's claims.
func (c *cycle) volumes(n *nodeInfo) *verdict {
	refusal := c.needs.Check(n.node)
	if refusal == volumes.Whole {
		return &verdict{[]string{c.needs.Whole}, true, ByVolumes}
	}
	return volumeVerdicts[refusal]
}

// between looks at affinity between pods.
func (c *cycle) between(n *nodeInfo) *verdict {
	if len(c.attract) > 0 {
		exist := true
		for _, x := range c.attract {
			d := x.top.of[n.slot]
			if d == none {
				return unattract
			}
			exist = exist && at(x.counts, d) > 0
		}
		if !exist && !c.first {
			return unattract
		}
	}
	for _, x := range c.repel {
		if at(x.counts, x.top.of[n.slot]) > 0 {
			return repelled
		}
	}
	for _, x := range c.barred {
		if at(x.counts, x.top.of[n.slot]) > 0 {
			return barred
		}
	}
	return nil
}

// concerns reports whether a pod that came or went counts for one of the waiting
// pod's constraints and terms, or has a term about it.
func concerns(waiting, other *podInfo, s *Snapshot) bool {
	for _, k := range waiting.hard {
		if k.Owners {
			if other.owner == waiting.owner {
				return true
			}
			continue
		}
		if other.pod.Namespace == waiting.pod.Namespace && k.Selector.Matches(labels.Set(other.pod.Labels)) {
			return true
		}
	}
	for _, list := range [][]*match.Term{waiting.attract, waiting.repel} {
		for _, t := range list {
			if t.Matches(other.pod, s.namespaces) {
				return true
			}
		}
	}
	if other.pod.Namespace == waiting.pod.Namespace && slices.ContainsFunc(waiting.claims, func(c string) bool { return slices.Contains(other.claims, c) }) {
		return true
	}
	return slices.ContainsFunc(other.repel, func(t *match.Term) bool { return t.Matches(waiting.pod, s.namespaces) })
}
