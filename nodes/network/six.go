package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// IPv6 of pods needs no neighbour discovery, which programs in pods could lie in: a pod has
// its address alone on its link and sends everything to the bridge's link-layer address, and
// the node knows each pod's. So what pods of a node send each other is routed, too.

// family is one of addresses.
type family int

const (
	ipv4 family = iota
	ipv6
)

// router is the next hop of pods in IPv6: nobody has the address, all that counts is the
// bridge's link-layer address behind it.
var router = netip.MustParseAddr("fe80::1")

// families are those that pods have addresses of.
func (n *Network) families() []family {
	if n.ipam.six.IsValid() {
		return []family{ipv4, ipv6}
	}
	return []family{ipv4}
}

func (f family) program() string {
	if f == ipv6 {
		return "ip6tables"
	}
	return "iptables"
}

func (f family) domain() int {
	if f == ipv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// socketAddress is where a program would listen that has the host port.
func (f family) socketAddress(p HostPort) unix.Sockaddr {
	ip, err := netip.ParseAddr(p.HostIP)
	if f == ipv6 {
		at := unix.SockaddrInet6{Port: int(p.HostPort)}
		if err == nil && ip.Is6() {
			at.Addr = ip.As16()
		}
		return &at
	}
	at := unix.SockaddrInet4{Port: int(p.HostPort)}
	if err == nil && ip.Is4() {
		at.Addr = ip.As4()
	}
	return &at
}

func (n *Network) gateway6() netip.Prefix {
	return netip.PrefixFrom(n.ipam.six.Masked().Addr().Next(), n.ipam.six.Bits())
}

// conf6 is where the kernel's parameters of IPv6 are.
const conf6 = "/proc/sys/net/ipv6/conf"

// Forward6 has the machine forward IPv6, and keeps the routes that it has from others. It
// has to be before anything else makes the machine a router: such a one takes no routes from
// others (router advertisements), its default route possibly, unless it is told to.
func Forward6() error {
	forwarding := filepath.Join(conf6, "all", "forwarding")
	if old, err := os.ReadFile(forwarding); err == nil && strings.TrimSpace(string(old)) == "1" {
		return nil
	}
	links, err := filepath.Glob(filepath.Join(conf6, "*", "accept_ra"))
	if err != nil {
		return err
	}
	for _, file := range links {
		if link := filepath.Base(filepath.Dir(file)); link == "all" || link == "default" {
			continue
		}
		if had, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(had)) != "1" {
			continue
		}
		if err := setSysctl(file, "2"); err != nil {
			return err
		}
	}
	return setSysctl(forwarding, "1")
}

// setUp6 has the node forward IPv6, and gives the bridge its address.
func setUp6(bridge netlink.Link, gateway netip.Prefix) error {
	if err := Forward6(); err != nil {
		return err
	}
	own := filepath.Join(conf6, bridge.Attrs().Name)
	for _, s := range []struct{ file, value string }{
		{filepath.Join(own, "disable_ipv6"), "0"},
		{filepath.Join(own, "accept_ra"), "0"},
		{filepath.Join(own, "accept_dad"), "0"},
	} {
		if err := setSysctl(s.file, s.value); err != nil {
			return err
		}
	}
	if err := setOnlyAddr(bridge, gateway); err != nil {
		return fmt.Errorf("give bridge %s its IPv6 address: %w", bridge.Attrs().Name, err)
	}
	return nil
}

func setSysctl(file, value string) error {
	if old, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(old)) == value {
		return nil
	}
	if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
		return fmt.Errorf("set sysctl (does the kernel have IPv6?): %w", err)
	}
	return nil
}

// connect6 gives a pod that is on the bridge its IPv6 address, and tells the node where it
// is. It changes nothing that is as it should be.
func connect6(inside *netlink.Handle, bridge netlink.Link, ip netip.Addr) error {
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	own := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(ip, ip.BitLen())), Flags: unix.IFA_F_NODAD}
	if err := inside.AddrAdd(eth0, own); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("give eth0 its IPv6 address (net.ipv6.conf.default.disable_ipv6 has to be 0): %w", err)
	}
	hop := &netlink.Neigh{LinkIndex: eth0.Attrs().Index, State: netlink.NUD_PERMANENT, IP: router.AsSlice(), HardwareAddr: bridge.Attrs().HardwareAddr}
	if err := inside.NeighSet(hop); err != nil {
		return fmt.Errorf("tell eth0 where the bridge is: %w", err)
	}
	routes, err := inside.RouteList(eth0, netlink.FAMILY_V6)
	if err != nil {
		return fmt.Errorf("list the routes of eth0: %w", err)
	}
	found := false
	for _, r := range routes {
		found = found || r.Gw.Equal(router.AsSlice())
	}
	if !found {
		if err := inside.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: router.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}); err != nil {
			return fmt.Errorf("add default route of IPv6: %w", err)
		}
	}
	return ensureNeighbour(bridge, ip, eth0)
}

// ensureNeighbour tells the node which pod has an address.
func ensureNeighbour(bridge netlink.Link, ip netip.Addr, eth0 netlink.Link) error {
	list, err := netlink.NeighList(bridge.Attrs().Index, netlink.FAMILY_V6)
	if err != nil {
		return fmt.Errorf("list the neighbours of the bridge: %w", err)
	}
	for _, n := range list {
		if n.IP.Equal(ip.AsSlice()) && n.State == netlink.NUD_PERMANENT && bytes.Equal(n.HardwareAddr, eth0.Attrs().HardwareAddr) {
			return nil
		}
	}
	pod := &netlink.Neigh{LinkIndex: bridge.Attrs().Index, State: netlink.NUD_PERMANENT, IP: ip.AsSlice(), HardwareAddr: eth0.Attrs().HardwareAddr}
	if err := netlink.NeighSet(pod); err != nil {
		return fmt.Errorf("tell the bridge where %s is: %w", ip, err)
	}
	return nil
}

// forgetNeighbour undoes ensureNeighbour.
func (n *Network) forgetNeighbour(ip netip.Addr) error {
	if !ip.IsValid() {
		return nil
	}
	bridge, err := netlink.LinkByName(n.cfg.Bridge)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", n.cfg.Bridge, err)
	}
	err = netlink.NeighDel(&netlink.Neigh{LinkIndex: bridge.Attrs().Index, IP: ip.AsSlice()})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("forget where %s is: %w", ip, err)
	}
	return nil
}

func jumps6(chains string, local []string) []jump {
	return []jump{
		{"nat", "PREROUTING", chains + "-HOSTPORTS", local},
		{"nat", "OUTPUT", chains + "-HOSTPORTS", local},
		{"nat", "POSTROUTING", chains + "-PODMASQ", nil},
		{"filter", "FORWARD", chains + "-PODFWD", nil},
		{"filter", "OUTPUT", chains + "-PODOUT", nil},
	}
}

// rules6 renders our chains of IPv6, as rules does those of IPv4. The kernel has no way
// for connections to [::1]:hostPort.
func rules6(in ruleInput) string {
	var b strings.Builder
	hostPorts, masq, forward, output := in.Chains+"-HOSTPORTS", in.Chains+"-PODMASQ", in.Chains+"-PODFWD", in.Chains+"-PODOUT"
	fmt.Fprintf(&b, "*nat\n:%s - [0:0]\n:%s - [0:0]\n", hostPorts, masq)
	for _, l := range in.Leases {
		for _, p := range l.Ports {
			if l.IP6.IsValid() {
				writeHostPort(&b, hostPorts, l.IP6, p)
			}
		}
	}
	fmt.Fprintf(&b, "-A %s ! -s %s -j RETURN\n", masq, in.PodCIDR)
	fmt.Fprintf(&b, "-A %s -d %s -j RETURN\n", masq, in.ClusterCIDR)
	fmt.Fprintf(&b, "-A %s -d ff00::/8 -j RETURN\n", masq)
	fmt.Fprintf(&b, "-A %s -j MASQUERADE\nCOMMIT\n", masq)
	fmt.Fprintf(&b, "*filter\n:%s - [0:0]\n:%s - [0:0]\n", forward, output)
	fmt.Fprintf(&b, "-A %s -i %s -j ACCEPT\n-A %s -o %s -j ACCEPT\n", forward, in.Bridge, forward, in.Bridge)
	// Pods of one node reach each other by the node alone: a redirect would lead them astray.
	fmt.Fprintf(&b, "-A %s -o %s -p ipv6-icmp -m icmp6 --icmpv6-type redirect -j DROP\nCOMMIT\n", output, in.Bridge)
	return b.String()
}

// removeRules6 is for nodes that may never have had any: there need be no ip6tables.
func removeRules6(ctx context.Context, chains string) error {
	if _, err := exec.LookPath(ipv6.program()); err != nil {
		return nil //nolint:nilerr // see above
	}
	return ipv6.removeRules(ctx, chains)
}
