package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"headway.dev/manifests/nodepolicy"
)

// The maps and sets that are always there.
const (
	egressMap  = "egress"
	ingressMap = "ingress"
	podsSet    = "isolated"
	selfSet    = "self"
	routersSet = "routers"
)

// port is that which a connection goes to after it was led to an endpoint.
const port = "ct reply proto-src"

// ownPods stands for the node's isolated pods, where a group is asked for.
const ownPods = "own"

// named is the name of the set of the ports that pods of a group have for a name.
func named(group, name, protocol string) string {
	sum := sha256.Sum256([]byte(group + "/" + name + "/" + protocol))
	return "n" + hex.EncodeToString(sum[:10])
}

// mostOfProfile bounds what the kernel and the agent keep of one profile: its rules, and
// the elements of the sets in them.
const mostOfProfile = 10_000

// rendered is a profile as nft wants it.
type rendered struct {
	rules []string
	// ports are the sets of named ports that the rules ask: group, name and protocol.
	ports map[string][3]string
	// size is how many rules there are, and elements in them.
	size int
}

// peer matches who is at the other end. Its named ports are looked up in group.
type peer struct {
	family       family
	match, group string
	size         int
}

// target matches what is connected to: by name, or else by number.
type target struct {
	protocol, name, match string
	size                  int
}

// render writes a profile as rules, one for each peer and protocol; ok is false if that
// is too much: what was written until then is then of no use.
func render(p *nodepolicy.Profile, families []family) (out rendered, ok bool) {
	out.ports = map[string][3]string{}
	seen := map[string]bool{}
	for _, r := range p.Rules {
		var from []peer
		for _, f := range families {
			from = append(from, peersOf(f, p.Egress, &r)...)
		}
		to := targetsOf(r.Ports)
		for _, who := range from {
			for _, t := range to {
				rule := who.match + t.match
				if t.name != "" {
					set := named(who.group, t.name, t.protocol)
					out.ports[set] = [3]string{who.group, t.name, t.protocol}
					rule += who.family.destination() + " . " + port + " @" + who.family.name(set) + " "
				}
				if rule += "return"; seen[rule] {
					continue
				}
				if out.size += 1 + who.size + t.size; out.size > mostOfProfile {
					return rendered{}, false
				}
				seen[rule] = true
				out.rules = append(out.rules, rule)
			}
		}
	}
	out.rules = append(out.rules, drop...)
	out.size++
	return out, true
}

// drop are the rules of a profile that lets nothing pass.
var drop = []string{"drop"}

// peersOf are the matches for those of a family whom a rule allows.
func peersOf(f family, egress bool, r *nodepolicy.Rule) (peers []peer) {
	side := f.source()
	if egress {
		side = f.destination()
	}
	group := func(id string) string {
		if egress {
			return id
		}
		return ownPods
	}
	if r.Any {
		peers = append(peers, peer{family: f, group: group(nodepolicy.Everything)})
	}
	for _, id := range r.Groups {
		peers = append(peers, peer{family: f, match: side + " @" + f.name(id) + " ", group: group(id)})
	}
	for _, b := range blocks(f, side, r.Blocks) {
		b.family = f
		b.group = group(nodepolicy.Everything)
		peers = append(peers, b)
	}
	return peers
}

// targetsOf are the matches for ports: one for all numbers of a protocol, one for each
// name.
func targetsOf(ports []nodepolicy.Port) (targets []target) {
	if len(ports) == 0 {
		return []target{{}}
	}
	numbers := map[string][]nodepolicy.Port{}
	for _, p := range ports {
		if p.Name != "" {
			targets = append(targets, target{protocol: p.Protocol, name: p.Name, match: protocol(p.Protocol)})
			continue
		}
		if p.First == 0 {
			p.Last = math.MaxUint16
		}
		numbers[p.Protocol] = append(numbers[p.Protocol], p)
	}
	for _, name := range slices.Sorted(maps.Keys(numbers)) {
		t := target{protocol: name, match: protocol(name)}
		if list := merged(numbers[name]); list[0].First != 0 {
			t.match += port + " " + ranges(list) + " "
			t.size = len(list)
		}
		targets = append(targets, t)
	}
	return targets
}

func protocol(name string) string {
	if name == "" {
		return ""
	}
	return "meta l4proto " + strings.ToLower(name) + " "
}

// merged are ranges in order, none of which touches the next: nft wants no overlaps.
func merged(list []nodepolicy.Port) (out []nodepolicy.Port) {
	slices.SortFunc(list, func(a, b nodepolicy.Port) int { return cmp.Compare(a.First, b.First) })
	for _, p := range list {
		if n := len(out); n > 0 && int(p.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, p.Last)
			continue
		}
		out = append(out, p)
	}
	return out
}

// ranges writes ports as nft does.
func ranges(list []nodepolicy.Port) string {
	var texts []string
	for _, p := range list {
		if p.First == p.Last {
			texts = append(texts, strconv.Itoa(int(p.First)))
			continue
		}
		texts = append(texts, fmt.Sprintf("%d-%d", p.First, p.Last))
	}
	if len(texts) == 1 {
		return texts[0]
	}
	return "{ " + strings.Join(texts, ", ") + " }"
}

// blocks match ranges of addresses of a family.
func blocks(f family, side string, list []nodepolicy.Block) (matches []peer) {
	var whole []netip.Prefix
	for _, b := range list {
		if familyOf(b.CIDR.Addr()) != f {
			continue
		}
		if len(b.Except) == 0 {
			whole = append(whole, b.CIDR)
			continue
		}
		except, size := join(b.Except)
		matches = append(matches, peer{match: fmt.Sprintf("%s %s %s != %s ", side, b.CIDR, side, except), size: size})
	}
	if len(whole) > 0 {
		in, size := join(whole)
		matches = append(matches, peer{match: side + " " + in + " ", size: size})
	}
	return matches
}

// join writes ranges as a set, in which nft wants none twice, and counts its elements.
func join(list []netip.Prefix) (text string, size int) {
	list = slices.Clone(list)
	for i := range list {
		list[i] = list[i].Masked()
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var texts []string
	var last netip.Prefix
	for _, p := range list {
		if !last.IsValid() || !last.Contains(p.Addr()) { // what covers others comes before them
			last = p
			texts = append(texts, p.String())
		}
	}
	return "{ " + strings.Join(texts, ", ") + " }", len(texts)
}
