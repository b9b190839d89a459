package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"headway.dev/manifests/nodepolicy"
)

// The maps and sets that are always there.
const (
	egressMap  = "egress"
	ingressMap = "ingress"
	podsSet    = "isolated"
	selfSet    = "self"
)

// The source of a connection, and where it goes after it was led to an endpoint.
const (
	source      = "ct original ip saddr"
	destination = "ct reply ip saddr"
	port        = "ct reply proto-src"
)

// forwardRules judge what is forwarded.
var forwardRules = []string{
	"meta nfproto != ipv4 return",
	"ct state related meta l4proto icmp return",
	"ct state invalid,untracked ip saddr @" + podsSet + " drop",
	"ct state invalid,untracked ip daddr @" + podsSet + " drop",
	source + " @" + nodepolicy.Nodes + " return",
	source + " . " + destination + " @" + selfSet + " return",
	source + " vmap @" + egressMap,
	destination + " vmap @" + ingressMap,
}

// ownPods stands for the node's isolated pods, where a group is asked for.
const ownPods = "own"

// named is the name of the set of the ports that pods of a group have for a name.
func named(group, name, protocol string) string {
	sum := sha256.Sum256([]byte(group + "/" + name + "/" + protocol))
	return "n" + hex.EncodeToString(sum[:10])
}

// rulesOf are the rules of a profile's chain, and the sets of named ports that they ask.
func rulesOf(p *nodepolicy.Profile) (rules []string, ports map[string][3]string) {
	ports = map[string][3]string{}
	seen := map[string]bool{}
	add := func(peer string, to nodepolicy.Port, group string) {
		rule := peer
		if to.Protocol != "" {
			rule += "meta l4proto " + strings.ToLower(to.Protocol) + " "
		}
		switch {
		case to.Name != "":
			name := named(group, to.Name, to.Protocol)
			ports[name] = [3]string{group, to.Name, to.Protocol}
			rule += destination + " . " + port + " @" + name + " "
		case to.First == 0:
		case to.First == to.Last:
			rule += fmt.Sprintf("%s %d ", port, to.First)
		default:
			rule += fmt.Sprintf("%s %d-%d ", port, to.First, to.Last)
		}
		if rule += "return"; !seen[rule] {
			seen[rule] = true
			rules = append(rules, rule)
		}
	}
	side := source
	if p.Egress {
		side = destination
	}
	for _, r := range p.Rules {
		to := r.Ports
		if len(to) == 0 {
			to = []nodepolicy.Port{{}}
		}
		for _, t := range to {
			group := func(id string) string {
				if p.Egress {
					return id
				}
				return ownPods
			}
			if r.Any {
				add("", t, group(nodepolicy.Everything))
			}
			for _, id := range r.Groups {
				add(side+" @"+id+" ", t, group(id))
			}
			for _, match := range blocks(side, r.Blocks) {
				add(match+" ", t, group(nodepolicy.Everything))
			}
		}
	}
	return append(rules, "drop"), ports
}

// blocks match ranges of addresses. Those of IPv6 match nothing, as no pod has such an
// address.
func blocks(side string, list []nodepolicy.Block) (matches []string) {
	var whole []netip.Prefix
	for _, b := range list {
		if !b.CIDR.Addr().Is4() {
			continue
		}
		if len(b.Except) == 0 {
			whole = append(whole, b.CIDR)
			continue
		}
		matches = append(matches, fmt.Sprintf("%s %s %s != %s", side, b.CIDR, side, join(b.Except)))
	}
	if len(whole) > 0 {
		matches = append(matches, side+" "+join(whole))
	}
	return matches
}

// join writes ranges as a set, in which nft wants none twice.
func join(list []netip.Prefix) string {
	var texts []string
	for i, p := range list {
		covered := slices.ContainsFunc(list, func(q netip.Prefix) bool { return q.Bits() < p.Bits() && q.Contains(p.Addr()) })
		if !covered && !slices.Contains(list[:i], p) {
			texts = append(texts, p.Masked().String())
		}
	}
	slices.Sort(texts)
	return "{ " + strings.Join(texts, ", ") + " }"
}
