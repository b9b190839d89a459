package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/nodepolicy"
)

// group is the pods of a selector that profiles name.
type group struct {
	id string
	// namespace is the one that the pods are in; empty: those that namespaces selects.
	namespace        string
	namespaces, pods labels.Selector
	members          map[types.UID]*nodepolicy.Member
	// profiles is how many name the group, views which nodes are told of it.
	profiles int
	views    map[*View]bool
}

func newGroup(id string) *group {
	return &group{
		id: id, namespaces: labels.Nothing(), pods: labels.Nothing(),
		members: map[types.UID]*nodepolicy.Member{}, views: map[*View]bool{},
	}
}

// peer names the group of a selector.
type peer struct {
	namespace        string
	namespaces, pods labels.Selector
}

func (p peer) id() string {
	switch {
	case p.namespace == "" && p.namespaces.Empty() && p.pods.Empty():
		return nodepolicy.Everything
	case p.namespace != "":
		return "g" + hash("in", p.namespace, p.pods.String())
	}
	return "g" + hash("of", p.namespaces.String(), p.pods.String())
}

// hash is short enough for the names of sets and chains.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = h.Write([]byte(strconv.Quote(p))) // it has no error
	}
	return hex.EncodeToString(h.Sum(nil)[:10])
}

// in reports whether members may be in a namespace.
func (g *group) in(name string, ns *namespace) bool {
	if g.namespace != "" {
		return g.namespace == name
	}
	return ns.exists && g.namespaces.Matches(ns.labels)
}

// member is what a pod is in the group; nil: no member.
func (g *group) member(p *pod) *nodepolicy.Member {
	if p == nil || len(p.ips) == 0 || !g.pods.Matches(p.labels) {
		return nil
	}
	return &nodepolicy.Member{IPs: p.ips, Ports: p.ports}
}

func (x *Index) setMember(g *group, uid types.UID, next *nodepolicy.Member) {
	old := g.members[uid]
	if old == nil && next == nil || old != nil && next != nil && slices.Equal(old.IPs, next.IPs) && slices.Equal(old.Ports, next.Ports) {
		return
	}
	if next == nil {
		delete(g.members, uid)
	} else {
		g.members[uid] = next
	}
	for v := range g.views {
		v.member(g, uid)
	}
}

// useGroup returns the group of a selector, which one profile more names.
func (x *Index) useGroup(p peer) *group {
	id := p.id()
	g := x.groups[id]
	if g == nil {
		g = newGroup(id)
		g.namespace, g.pods = p.namespace, p.pods
		if p.namespaces != nil {
			g.namespaces = p.namespaces
		}
		x.groups[id] = g
		for name, ns := range x.namespaces {
			if !g.in(name, ns) {
				continue
			}
			ns.groups[g] = true
			for uid, p := range ns.pods {
				x.setMember(g, uid, g.member(p))
			}
		}
	}
	g.profiles++
	return g
}

func (x *Index) releaseGroup(g *group) {
	if g.profiles--; g.profiles > 0 {
		return
	}
	delete(x.groups, g.id)
	for _, ns := range x.namespaces {
		delete(ns.groups, g)
	}
}
