package policy

import (
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/nodepolicy"
)

// View is what one node is told. What changed since the last Next is remembered by
// name, so that it is as large as what the node knows at most.
type View struct {
	index *Index
	node  string
	// Changed has a value when there is something to tell.
	Changed chan struct{}

	reset    bool
	pods     map[types.UID]bool
	profiles map[string]bool
	members  map[string]map[types.UID]bool
	gone     map[string]bool
	// The node knows these, for as many of its pods and profiles.
	knownProfiles map[*profile]int
	knownGroups   map[*group]int
}

// Open begins to tell a node. Close ends it.
func (x *Index) Open(node string) *View {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.setUp()
	v := &View{index: x, node: node, Changed: make(chan struct{}, 1), reset: true, knownProfiles: map[*profile]int{}, knownGroups: map[*group]int{}}
	v.clear()
	v.useGroup(x.nodeGroup)
	for uid, p := range x.nodes[node] {
		v.pods[uid] = true
		p.each(v.use)
	}
	if x.views[node] == nil {
		x.views[node] = map[*View]bool{}
	}
	x.views[node][v] = true
	v.wake()
	return v
}

// Close ends the view.
func (v *View) Close() {
	x := v.index
	x.mu.Lock()
	defer x.mu.Unlock()
	for p := range v.knownProfiles {
		delete(p.views, v)
	}
	for g := range v.knownGroups {
		delete(g.views, v)
	}
	delete(x.views[v.node], v)
	if len(x.views[v.node]) == 0 {
		delete(x.views, v.node)
	}
}

func (v *View) clear() {
	v.pods, v.profiles = map[types.UID]bool{}, map[string]bool{}
	v.members, v.gone = map[string]map[types.UID]bool{}, map[string]bool{}
}

func (v *View) wake() {
	if !v.reset && len(v.pods) == 0 && len(v.profiles) == 0 && len(v.members) == 0 && len(v.gone) == 0 {
		return
	}
	select {
	case v.Changed <- struct{}{}:
	default:
	}
}

// use and release count the pods that have a profile.
func (v *View) use(p *profile) {
	if v.knownProfiles[p]++; v.knownProfiles[p] > 1 {
		return
	}
	p.views[v], v.profiles[p.id] = true, true
	for _, g := range p.groups {
		v.useGroup(g)
	}
}

func (v *View) release(p *profile) {
	if v.knownProfiles[p]--; v.knownProfiles[p] > 0 {
		return
	}
	delete(v.knownProfiles, p)
	delete(p.views, v)
	v.profiles[p.id] = true
	for _, g := range p.groups {
		v.releaseGroup(g)
	}
}

func (v *View) useGroup(g *group) {
	if v.knownGroups[g]++; v.knownGroups[g] > 1 {
		return
	}
	g.views[v] = true
	// A group that was gone for a moment is told whole.
	v.gone[g.id] = true
	v.members[g.id] = map[types.UID]bool{}
	for uid := range g.members {
		v.members[g.id][uid] = true
	}
}

func (v *View) releaseGroup(g *group) {
	if v.knownGroups[g]--; v.knownGroups[g] > 0 {
		return
	}
	delete(v.knownGroups, g)
	delete(g.views, v)
	delete(v.members, g.id)
	v.gone[g.id] = true
}

func (v *View) member(g *group, uid types.UID) {
	if v.members[g.id] == nil {
		v.members[g.id] = map[types.UID]bool{}
	}
	v.members[g.id][uid] = true
}

// Next is what changed since the last call; the first is everything.
func (v *View) Next() *nodepolicy.Change {
	x := v.index
	x.mu.Lock()
	defer x.mu.Unlock()
	c := &nodepolicy.Change{Revision: x.revision, Reset: v.reset, State: nodepolicy.State{
		Pods:     make(map[types.UID]*nodepolicy.Pod, len(v.pods)),
		Profiles: make(map[string]*nodepolicy.Profile, len(v.profiles)),
		Groups:   make(map[string]map[types.UID]*nodepolicy.Member, len(v.members)),
	}}
	for uid := range v.pods {
		if c.Pods[uid] = nil; x.nodes[v.node][uid] != nil {
			c.Pods[uid] = x.nodes[v.node][uid].wire()
		}
	}
	for id := range v.profiles {
		if c.Profiles[id] = nil; x.profiles[id] != nil && v.knownProfiles[x.profiles[id]] > 0 {
			c.Profiles[id] = x.profiles[id].wire()
		}
	}
	for id := range v.gone {
		c.Gone = append(c.Gone, id)
	}
	for g := range v.knownGroups {
		dirty, ok := v.members[g.id]
		if !ok {
			continue
		}
		members := make(map[types.UID]*nodepolicy.Member, len(dirty))
		for uid := range dirty {
			members[uid] = g.members[uid]
		}
		c.Groups[g.id] = members
	}
	v.reset = false
	v.clear()
	return c
}
