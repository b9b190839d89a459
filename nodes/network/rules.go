package network

import (
	"fmt"
	"net/netip"
	"strings"
)

// ruleInput is all the rules depend on.
type ruleInput struct {
	Chains, Bridge       string
	PodCIDR, ClusterCIDR netip.Prefix
	Leases               []Lease
}

// jump is a rule in a chain of the kernel's that leads to one of ours.
type jump struct {
	table, from, to string
	match           []string
}

// VXLANPort is where nodes take the packets of each other's pods.
const VXLANPort = 4789

// jumps lists our entry points.
func (f family) jumps(chains string) []jump {
	local := []string{"-m", "addrtype", "--dst-type", "LOCAL"}
	if f == ipv6 {
		return jumps6(chains, local)
	}
	return []jump{
		{"nat", "PREROUTING", chains + "-HOSTPORTS", local},
		{"nat", "OUTPUT", chains + "-HOSTPORTS", local},
		{"nat", "POSTROUTING", chains + "-PODMASQ", nil},
		{"filter", "FORWARD", chains + "-PODFWD", nil},
		// Before the filter table, where somebody may let all of the port in.
		{"mangle", "FORWARD", chains + "-PODVXLAN", nil},
		{"mangle", "INPUT", chains + "-PODVXLAN", nil},
	}
}

// rules renders our chains as input of iptables-restore --noflush: naming a
// chain empties it, chains not named are left alone. Those that need the range of the
// node's pods are not named while it is not known: pods that go before it is take their
// host ports with them.
func rules(in ruleInput) string {
	var b strings.Builder
	hostPorts, masq, forward := in.Chains+"-HOSTPORTS", in.Chains+"-PODMASQ", in.Chains+"-PODFWD"
	fmt.Fprintf(&b, "*nat\n:%s - [0:0]\n", hostPorts)
	if in.PodCIDR.IsValid() {
		fmt.Fprintf(&b, ":%s - [0:0]\n", masq)
	}
	for _, l := range in.Leases {
		for _, p := range l.Ports {
			writeHostPort(&b, hostPorts, l.IP, p)
		}
	}
	if !in.PodCIDR.IsValid() {
		b.WriteString("COMMIT\n")
		return b.String()
	}
	// Order: 1. host ports reached from 127.0.0.1 (the pod could not answer to
	// that address), 2. inside the cluster addresses are kept, 3. the rest
	// leaves with the node's address.
	fmt.Fprintf(&b, "-A %s -s 127.0.0.0/8 -o %s -j MASQUERADE\n", masq, in.Bridge)
	fmt.Fprintf(&b, "-A %s ! -s %s -j RETURN\n", masq, in.PodCIDR)
	fmt.Fprintf(&b, "-A %s -d %s -j RETURN\n", masq, in.ClusterCIDR)
	fmt.Fprintf(&b, "-A %s -d 224.0.0.0/4 -j RETURN\n", masq)
	fmt.Fprintf(&b, "-A %s -j MASQUERADE\n", masq)
	b.WriteString("COMMIT\n")

	// Hosts that drop forwarded packets by default still let the pods' pass.
	fmt.Fprintf(&b, "*filter\n:%s - [0:0]\n", forward)
	fmt.Fprintf(&b, "-A %s -i %s -j ACCEPT\n-A %s -o %s -j ACCEPT\n", forward, in.Bridge, forward, in.Bridge)
	b.WriteString("COMMIT\n")

	// What comes in at a node's VXLAN port is taken for what another node sends, whose
	// pods may send as anybody. Pods may use the port among themselves.
	vxlan := in.Chains + "-PODVXLAN"
	fmt.Fprintf(&b, "*mangle\n:%s - [0:0]\n", vxlan)
	fmt.Fprintf(&b, "-A %s ! -d %s -i %s -p udp -m udp --dport %d -j DROP\n", vxlan, in.ClusterCIDR, in.Bridge, VXLANPort)
	fmt.Fprintf(&b, "-A %s -d %s -i %s -p udp -m udp --dport %d -j DROP\n", vxlan, in.PodCIDR.Addr().Next(), in.Bridge, VXLANPort)
	// CVE-2020-8558: route_localnet of the bridge, for host ports at 127.0.0.1, would let
	// pods send to the node's loopback addresses. What answers has those only once the
	// kernel has undone the translation.
	fmt.Fprintf(&b, "-A %s -d 127.0.0.0/8 -i %s -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n", vxlan, in.Bridge)
	b.WriteString("COMMIT\n")
	return b.String()
}

func writeHostPort(b *strings.Builder, chain string, ip netip.Addr, p HostPort) {
	proto := strings.ToLower(p.Protocol)
	if proto == "" {
		proto = "tcp"
	}
	dst := ""
	if addr, err := netip.ParseAddr(p.HostIP); err == nil {
		if addr.Is4() != ip.Is4() {
			return // opened by the rules of the other family
		}
		if !addr.IsUnspecified() {
			dst = " -d " + addr.String()
		}
	}
	fmt.Fprintf(b, "-A %s%s -p %s -m %s --dport %d -j DNAT --to-destination %s\n",
		chain, dst, proto, proto, p.HostPort, netip.AddrPortFrom(ip, uint16(p.ContainerPort))) // checked by checkPorts
}
