package placement

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/scheduler/placement/match"
)

// topology is a label of nodes whose values are domains. Domains are numbered as
// they are met, so that what is counted for each is a slice.
type topology struct {
	key string
	ids map[string]int32
	of  []int32 // for each slot: its domain, or none
	// nodes counts the nodes of each domain.
	nodes []int32
	// missing counts the nodes that have no such label.
	missing int
}

const none = int32(-1)

// topology returns the one of a label, which is read from all nodes at first use.
func (s *Snapshot) topology(key string) *topology {
	t := s.topologies[key]
	if t == nil {
		t = &topology{key: key, ids: map[string]int32{}}
		s.topologies[key] = t
		for slot, n := range s.slots {
			t.of = append(t.of, none)
			if n != nil && n.node != nil {
				t.set(int32(slot), n.node)
			}
		}
	}
	return t
}

// set notes the domain of a slot that had none; node is nil if it is not known.
func (t *topology) set(slot int32, node *corev1.Node) {
	if node == nil {
		return
	}
	value, ok := node.Labels[t.key]
	if !ok {
		t.missing++
		return
	}
	id, known := t.ids[value]
	if !known {
		id = int32(len(t.nodes))
		t.ids[value] = id
		t.nodes = append(t.nodes, 0)
	}
	t.of[slot] = id
	t.nodes[id]++
}

// unset forgets the domain of a slot, which node was on.
func (t *topology) unset(slot int32, node *corev1.Node) {
	if node == nil {
		return
	}
	if id := t.of[slot]; id != none {
		t.nodes[id]--
		t.of[slot] = none
	} else {
		t.missing--
	}
}

// counts are of pods: for each node, and for each domain of some topologies.
type counts struct {
	nodes   map[int32]int64
	domains map[*topology][]int64
}

func newCounts() counts {
	return counts{nodes: map[int32]int64{}, domains: map[*topology][]int64{}}
}

func (c *counts) add(slot int32, n int64) {
	if c.nodes[slot] += n; c.nodes[slot] == 0 {
		delete(c.nodes, slot)
	}
	for t := range c.domains {
		c.move(t, t.of[slot], n)
	}
}

func (c *counts) move(t *topology, domain int32, n int64) {
	if domain == none {
		return
	}
	list := c.domains[t]
	for int(domain) >= len(list) {
		list = append(list, 0)
	}
	list[domain] += n
	c.domains[t] = list
}

// by returns the counts for each domain; one that is out of range has none.
func (c *counts) by(t *topology) []int64 {
	list, ok := c.domains[t]
	if !ok {
		c.domains[t] = make([]int64, len(t.nodes))
		for slot, n := range c.nodes {
			c.move(t, t.of[slot], n)
		}
		list = c.domains[t]
	}
	return list
}

func at(list []int64, domain int32) int64 {
	if domain < 0 || int(domain) >= len(list) {
		return 0
	}
	return list[domain]
}

// tally counts the pods that all of its matchers match, or those of a controller.
type tally struct {
	counts
	id       string
	matchers []*match.Matcher
	// living says that pods which are leaving do not count.
	living bool
	used   uint64
}

func (t *tally) counted(p *podInfo, s *Snapshot) bool {
	return (!t.living || !p.leaving) && match.All(t.matchers, p.pod, s.namespaces)
}

// mostTallies bounds how many tallies are kept that are not being used.
const mostTallies = 512

// tallyOf returns the tally of some matchers. It is made at first use, from all
// pods, and kept up to date after that.
func (s *Snapshot) tallyOf(living bool, matchers ...*match.Matcher) *tally {
	id := "pods "
	if living {
		id = "living "
	}
	for _, m := range matchers {
		id += m.Key + "&"
	}
	t := s.tallies[id]
	if t == nil {
		s.dropTallies()
		t = &tally{counts: newCounts(), id: id, matchers: matchers, living: living}
		for _, p := range s.on {
			// One that is lifted for the moment is not on its node.
			if p.node.pods[p.pod.UID] == p && t.counted(p, s) {
				t.add(p.node.slot, 1)
			}
		}
		s.tallies[id] = t
		s.byMatcher.Add(matchers[0], id, t)
	}
	t.used = s.cycles
	return t
}

// dropTallies forgets the tallies that were not used lately, if there are many.
func (s *Snapshot) dropTallies() {
	if len(s.tallies) < mostTallies {
		return
	}
	for id, t := range s.tallies {
		if t.used+mostTallies/2 < s.cycles {
			s.byMatcher.Remove(t.matchers[0], id)
			delete(s.tallies, id)
		}
	}
}

// carrier counts the pods that have a term.
type carrier struct {
	counts
	id   string
	term *match.Term
	kind carried
	pods int
}

// carried is the list in which a pod has a term.
type carried byte

const (
	carriesRepel carried = iota
	carriesAttract
	carriesDrawn
	carriesShy
)

// carry notes the terms of a pod that is on a node, or forgets them.
func (s *Snapshot) carry(p *podInfo, sign int64) {
	if sign > 0 && p.carried == nil {
		for kind, list := range [][]*match.Term{p.repel, p.attract, p.drawn, p.shy} {
			for _, t := range list {
				p.carried = append(p.carried, s.carrierOf(t, carried(kind)))
			}
		}
	}
	for _, c := range p.carried {
		c.add(p.node.slot, sign)
		if c.pods += int(sign); c.pods == 0 {
			s.byTerm.Remove(&c.term.Matcher, c.id)
			delete(s.carriers, c.id)
		}
	}
	if sign < 0 {
		p.carried = nil
	}
}

func (s *Snapshot) carrierOf(t *match.Term, kind carried) *carrier {
	id := string([]byte{'0' + byte(kind), ' '}) + t.Topology + " " + strconv.FormatInt(t.Weight, 10) + " " + t.Key
	c := s.carriers[id]
	if c == nil {
		c = &carrier{counts: newCounts(), id: id, term: t, kind: kind}
		s.carriers[id] = c
		s.byTerm.Add(&t.Matcher, id, c)
	}
	return c
}

// tallied counts a pod that is on a node in the tallies, or forgets it.
func (s *Snapshot) tallied(p *podInfo, sign int64) {
	s.byMatcher.Each(p.pod, func(t *tally) {
		if t.counted(p, s) {
			t.add(p.node.slot, sign)
		}
	})
}

// relabel brings what is counted by domain up to date, when the node of a slot
// came, went, or has other labels.
func (s *Snapshot) relabel(slot int32, before, after *corev1.Node) {
	for _, t := range s.topologies {
		was := t.of[slot]
		t.unset(slot, before)
		t.set(slot, after)
		is := t.of[slot]
		if was == is {
			continue
		}
		shift := func(c *counts) {
			if n := c.nodes[slot]; n != 0 && c.domains[t] != nil {
				c.move(t, was, -n)
				c.move(t, is, n)
			}
		}
		for _, x := range s.tallies {
			shift(&x.counts)
		}
		for _, x := range s.carriers {
			shift(&x.counts)
		}
		for _, x := range s.owners {
			shift(x)
		}
	}
}
