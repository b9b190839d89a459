package policy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/knftables"

	"headway.dev/manifests/nodepolicy"
	"headway.dev/nodes/network"
)

// The names of the tables.
const (
	policyTable = "headway-policy"
	guardTable  = "headway-guard"
)

// Rules are those of the process's network namespace. They are for one goroutine.
type Rules struct {
	policy, guard *table
	state         nodepolicy.State
	// attached are the pods that have an address, as the network has them.
	attached map[types.UID]network.Attachment
	// lines are the rules of each chain; of a profile's, ports are the sets it asks.
	lines map[string][]string
	ports map[string]map[string][3]string
	// asked is how many profiles ask for a set of named ports.
	asked map[string]int
	profiles
}

// NewRules finds nft. It changes nothing yet.
func NewRules() (*Rules, error) {
	hook := func(h knftables.BaseChainHook, p knftables.BaseChainPriority) knftables.Chain {
		kind := knftables.FilterType
		return knftables.Chain{Type: &kind, Hook: &h, Priority: &p}
	}
	policy, err := newTable(knftables.InetFamily, policyTable, map[string]knftables.Chain{"forward": hook(knftables.ForwardHook, "-5")})
	if err != nil {
		return nil, err
	}
	guard, err := newTable(knftables.BridgeFamily, guardTable, map[string]knftables.Chain{
		"ingress": hook(knftables.PreroutingHook, "-300"), "across": hook(knftables.ForwardHook, "-300"),
	})
	if err != nil {
		return nil, err
	}
	r := &Rules{
		policy: policy, guard: guard, attached: map[types.UID]network.Attachment{},
		lines: map[string][]string{}, ports: map[string]map[string][3]string{}, asked: map[string]int{},
		profiles: newProfiles(),
	}
	for name, s := range map[string]set{
		egressMap: {"ipv4_addr : verdict", true}, ingressMap: {"ipv4_addr : verdict", true},
		podsSet: {"ipv4_addr", false}, selfSet: {"ipv4_addr . ipv4_addr", false}, nodepolicy.Nodes: {"ipv4_addr", false},
	} {
		policy.sets.set(name, s)
	}
	r.chain(policy, "forward", forwardRules)
	guard.sets.set("links", set{"ifname", false})
	guard.sets.set("own", set{"ifname . ipv4_addr", false})
	r.chain(guard, "ingress", []string{
		"iifname != @links return",
		"ether type ip iifname . ip saddr @own accept",
		"ether type arp iifname . arp saddr ip @own accept",
		"ether type ip6 accept", // the node's own IPv6 addresses
		"drop",
	})
	r.chain(guard, "across", []string{"iifname @links ether type ip6 drop"})
	return r, nil
}

func (r *Rules) chain(t *table, name string, lines []string) {
	r.lines[name] = lines
	t.chains.set(name, strings.Join(lines, "\n"))
}

func (r *Rules) rules(chain string) []string { return r.lines[chain] }

// Take makes the rules those of a state after a change. They are in force after Write.
func (r *Rules) Take(c *nodepolicy.Change) {
	old := r.state
	if c.Reset {
		for uid := range old.Pods {
			if c.Pods[uid] == nil {
				r.policy.own("pod/"+string(uid), nil)
			}
		}
		for id := range old.Profiles {
			if c.Profiles[id] == nil {
				r.setProfile(id, nil)
			}
		}
		for id, members := range old.Groups {
			r.dropGroup(id, members)
		}
	}
	for _, id := range c.Gone {
		if !c.Reset {
			r.dropGroup(id, old.Groups[id])
		}
	}
	r.state.Apply(c)
	for id, members := range c.Groups {
		if id != nodepolicy.Nodes {
			r.policy.sets.set(id, set{"ipv4_addr", false})
		}
		for uid := range members {
			r.member(id, uid)
		}
	}
	for id, p := range c.Profiles {
		r.setProfile(id, p)
	}
	for uid := range c.Pods {
		r.pod(uid)
	}
	r.makeRoom()
}

func (r *Rules) dropGroup(id string, members map[types.UID]*nodepolicy.Member) {
	for uid := range members {
		r.policy.own("member/"+id+"/"+string(uid), nil)
	}
	if id != nodepolicy.Nodes {
		r.policy.sets.remove(id)
	}
}

// member brings the elements of one member of a group up to date.
func (r *Rules) member(id string, uid types.UID) {
	m := r.state.Groups[id][uid]
	var elements map[element]string
	if m != nil {
		elements = map[element]string{}
		for _, ip := range m.IPs {
			if !ip.Is4() {
				continue
			}
			elements[element{id, ip.String()}] = ""
			r.addPorts(elements, id, ip, m.Ports)
		}
	}
	r.policy.own("member/"+id+"/"+string(uid), elements)
}

// addPorts adds the named ports that a profile asks for.
func (r *Rules) addPorts(elements map[element]string, group string, ip netip.Addr, ports []nodepolicy.NamedPort) {
	for _, p := range ports {
		if name := named(group, p.Name, p.Protocol); r.asked[name] > 0 {
			elements[element{name, fmt.Sprintf("%s . %d", ip, p.Port)}] = ""
		}
	}
}

// setProfile writes the chain of a profile; nil: it goes.
func (r *Rules) setProfile(id string, p *nodepolicy.Profile) {
	var ports map[string][3]string
	r.forget(id)
	if p == nil {
		delete(r.lines, id)
		r.policy.chains.remove(id)
	} else {
		lines := drop
		if out, err := r.admit(id, p); err != nil {
			r.shut[id] = err
		} else {
			lines, ports = out.rules, out.ports
		}
		r.chain(r.policy, id, lines)
		r.changed[id] = true
	}
	old := r.ports[id]
	if r.ports[id] = ports; ports == nil {
		delete(r.ports, id)
	}
	for name, asks := range ports {
		if r.asked[name]++; r.asked[name] == 1 {
			r.policy.sets.set(name, set{"ipv4_addr . inet_service", false})
			r.refill(asks[0])
		}
	}
	for name, asks := range old {
		if r.asked[name]--; r.asked[name] == 0 {
			delete(r.asked, name)
			r.refill(asks[0])
			r.policy.sets.remove(name)
		}
	}
}

// refill brings the elements of a group up to date after other ports of it are asked for.
func (r *Rules) refill(group string) {
	if group == ownPods {
		for uid := range r.state.Pods {
			r.pod(uid)
		}
		return
	}
	for uid := range r.state.Groups[group] {
		r.member(group, uid)
	}
}

// Attach says where the pods of the node are in its network.
func (r *Rules) Attach(all []network.Attachment) {
	old := r.attached
	r.attached = make(map[types.UID]network.Attachment, len(all))
	for _, a := range all {
		r.attached[types.UID(a.Pod)] = a
	}
	for uid, a := range old {
		if r.attached[uid] != a {
			r.pod(uid)
		}
	}
	for uid, a := range r.attached {
		if old[uid] != a {
			r.pod(uid)
		}
	}
}

// pod brings the elements of one pod of the node up to date.
func (r *Rules) pod(uid types.UID) {
	a, there := r.attached[uid]
	if !there || !a.IP.Is4() {
		r.policy.own("pod/"+string(uid), nil)
		r.guard.own(string(uid), nil)
		return
	}
	ip := a.IP.String()
	r.guard.own(string(uid), map[element]string{{"links", a.Link}: "", {"own", a.Link + " . " + ip}: ""})
	p := r.state.Pods[uid]
	if !isolates(p) {
		r.policy.own("pod/"+string(uid), nil)
		return
	}
	elements := map[element]string{{podsSet, ip}: "", {selfSet, ip + " . " + ip}: ""}
	if p.Ingress != "" {
		elements[element{ingressMap, ip}] = "jump " + p.Ingress
	}
	if p.Egress != "" {
		elements[element{egressMap, ip}] = "jump " + p.Egress
	}
	r.addPorts(elements, ownPods, a.IP, p.Ports)
	r.policy.own("pod/"+string(uid), elements)
}

// Write makes the kernel's rules what they should be. Pods are bound to their addresses
// before policies depend on those; unbound is why they are not, which does not keep the
// policies from being written.
func (r *Rules) Write(ctx context.Context) (unbound, err error) {
	if err := r.guard.write(ctx, r.rules); err != nil {
		unbound = fmt.Errorf("bind pods to their addresses: %w", err)
	}
	if err := r.writePolicies(ctx); err != nil {
		return unbound, fmt.Errorf("write the rules of NetworkPolicies: %w", err)
	}
	return unbound, nil
}

// isolates reports whether policies isolate a pod.
func isolates(p *nodepolicy.Pod) bool { return p != nil && (p.Ingress != "" || p.Egress != "") }

// Verify reports whether another program has taken rules away, so that Write has to
// write them again.
func (r *Rules) Verify(ctx context.Context) (missing bool, err error) {
	for _, t := range []*table{r.guard, r.policy} {
		gone, err := t.verify(ctx, r.rules)
		if err != nil {
			return false, err
		}
		missing = missing || gone
	}
	return missing, nil
}

// Cleanup removes the tables. Where there is no nft that works, nobody has made them.
func Cleanup(ctx context.Context) error {
	var errs []error
	for name, family := range map[string]knftables.Family{policyTable: knftables.InetFamily, guardTable: knftables.BridgeFamily} {
		nft, err := knftables.New(family, name)
		if err != nil {
			return nil //nolint:nilerr // see above
		}
		tx := nft.NewTransaction()
		tx.Add(&knftables.Table{}) // or else it could not be deleted if it is not there
		tx.Delete(&knftables.Table{})
		if err := nft.Run(ctx, tx); err != nil {
			errs = append(errs, fmt.Errorf("remove the table %s of nftables: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
