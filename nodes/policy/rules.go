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
	// dual says that pods have IPv6 addresses, too.
	dual bool
}

// NewRules finds nft. It changes nothing yet. dual says that pods have IPv6 addresses, too.
func NewRules(dual bool) (*Rules, error) {
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
		profiles: newProfiles(), dual: dual,
	}
	for _, f := range r.families() {
		for name, s := range map[string]set{
			egressMap: {f.kind + " : verdict", true}, ingressMap: {f.kind + " : verdict", true},
			podsSet: {f.kind, false}, selfSet: {f.kind + " . " + f.kind, false}, nodepolicy.Nodes: {f.kind, false},
		} {
			policy.sets.set(f.name(name), s)
		}
		guard.sets.set(f.name("own"), set{"ifname . " + f.kind, false})
	}
	if dual {
		r.chain(policy, six.name("forward"), six.forwardRules())
		r.chain(policy, "forward", append([]string{"meta nfproto ipv6 goto " + six.name("forward")}, four.forwardRules()...))
	} else {
		r.chain(policy, "forward", four.forwardRules())
	}
	guard.sets.set("links", set{"ifname", false})
	r.chain(guard, "ingress", []string{
		"iifname != @links return",
		"ether type ip iifname . ip saddr @own accept",
		"ether type arp iifname . arp saddr ip @own accept",
		"ether type ip6 " + r.ownAddress6(),
		"drop",
	})
	across := "iifname @links ether type ip6 drop"
	if dual {
		guard.sets.set(routersSet, set{"ether_addr", false})
		r.chain(guard, six.name("ingress"), []string{
			"ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 ether daddr != @" + routersSet + " drop",
			"iifname . ip6 saddr @" + six.name("own") + " accept",
			"ip6 saddr fe80::/10 accept",
			"ip6 saddr :: accept", // of one that looks whether nobody has the address
			"drop",
		})
		// With bridge-nf-call-ip6tables the kernel translates what pods send to the node
		// before it is routed, and hands what is for a pod then over to that itself.
		across = "iifname @links ether type ip6 ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 drop"
	}
	// Nothing of IPv6 is for other pods of the node as it is: what they send each other
	// is routed, and no pod tells others of neighbours or routers.
	r.chain(guard, "across", []string{across})
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
			for _, f := range r.families() {
				r.policy.sets.set(f.name(id), set{f.kind, false})
			}
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
		for _, f := range r.families() {
			r.policy.sets.remove(f.name(id))
		}
	}
}

// member brings the elements of one member of a group up to date.
func (r *Rules) member(id string, uid types.UID) {
	m := r.state.Groups[id][uid]
	var elements map[element]string
	if m != nil {
		elements = map[element]string{}
		for _, ip := range m.IPs {
			f := familyOf(ip)
			if f == six && !r.dual {
				continue
			}
			elements[element{f.name(id), ip.String()}] = ""
			r.addPorts(elements, id, ip, m.Ports)
		}
	}
	r.policy.own("member/"+id+"/"+string(uid), elements)
}

// addPorts adds the named ports that a profile asks for.
func (r *Rules) addPorts(elements map[element]string, group string, ip netip.Addr, ports []nodepolicy.NamedPort) {
	for _, p := range ports {
		if name := named(group, p.Name, p.Protocol); r.asked[name] > 0 {
			elements[element{familyOf(ip).name(name), fmt.Sprintf("%s . %d", ip, p.Port)}] = ""
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
		if out, err := r.admit(id, p, r.families()); err != nil {
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
			for _, f := range r.families() {
				r.policy.sets.set(f.name(name), set{f.kind + " . inet_service", false})
			}
			r.refill(asks[0])
		}
	}
	for name, asks := range old {
		if r.asked[name]--; r.asked[name] == 0 {
			delete(r.asked, name)
			r.refill(asks[0])
			for _, f := range r.families() {
				r.policy.sets.remove(f.name(name))
			}
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
	ips := []netip.Addr{a.IP}
	if r.dual && a.IP6.IsValid() {
		ips = append(ips, a.IP6)
	}
	bound := map[element]string{{"links", a.Link}: ""}
	for _, ip := range ips {
		bound[element{familyOf(ip).name("own"), a.Link + " . " + ip.String()}] = ""
	}
	if r.dual && a.Router != "" {
		bound[element{routersSet, a.Router}] = ""
	}
	r.guard.own(string(uid), bound)
	p := r.state.Pods[uid]
	if !isolates(p) {
		r.policy.own("pod/"+string(uid), nil)
		return
	}
	elements := map[element]string{}
	for _, addr := range ips {
		f, ip := familyOf(addr), addr.String()
		elements[element{f.name(podsSet), ip}] = ""
		elements[element{f.name(selfSet), ip + " . " + ip}] = ""
		if p.Ingress != "" {
			elements[element{f.name(ingressMap), ip}] = "jump " + p.Ingress
		}
		if p.Egress != "" {
			elements[element{f.name(egressMap), ip}] = "jump " + p.Egress
		}
		r.addPorts(elements, ownPods, addr, p.Ports)
	}
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
