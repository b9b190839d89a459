package network

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ensureBridge makes the bridge with the gateway's address, or brings one that
// exists into that state.
func ensureBridge(name string, gateway netip.Prefix, mtu int) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = name, mtu
		// A bridge without an address of its own takes its ports' lowest, and
		// changes it when that pod goes: neighbours would lose the gateway.
		sum := sha256.Sum256([]byte(name + gateway.String()))
		attrs.HardwareAddr = net.HardwareAddr{0x02, sum[0], sum[1], sum[2], sum[3], sum[4]}
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("make bridge %s: %w", name, err)
		}
		link, err = netlink.LinkByName(name)
	}
	if err != nil {
		return nil, fmt.Errorf("find bridge %s: %w", name, err)
	}
	if _, ok := link.(*netlink.Bridge); !ok {
		return nil, fmt.Errorf("link %s exists and is a %s, not a bridge: choose another name for the bridge", name, link.Type())
	}
	if err := setOnlyAddr(link, gateway); err != nil {
		return nil, fmt.Errorf("give bridge %s its address: %w", name, err)
	}
	if link.Attrs().MTU != mtu {
		if err := netlink.LinkSetMTU(link, mtu); err != nil {
			return nil, fmt.Errorf("set MTU of bridge %s: %w", name, err)
		}
		link.Attrs().MTU = mtu
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("set bridge %s up: %w", name, err)
	}
	return link, nil
}

func setOnlyAddr(link netlink.Link, want netip.Prefix) error {
	kind := netlink.FAMILY_V4
	if want.Addr().Is6() {
		kind = netlink.FAMILY_V6
	}
	addrs, err := netlink.AddrList(link, kind)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if a.IPNet.String() != want.String() && !a.IP.IsLinkLocalUnicast() {
			if err := netlink.AddrDel(link, &a); err != nil {
				return err
			}
		}
	}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(want), Flags: unix.IFA_F_NODAD}); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// connect makes the veth pair from the bridge into the namespace and sets up
// both ends. A pair left over from an interrupted call is made anew.
func connect(bridge netlink.Link, name, nsPath string, ip, six netip.Addr, gateway netip.Prefix) error {
	ns, err := netns.GetFromPath(nsPath)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer func() { _ = ns.Close() }()
	inside, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer inside.Close()

	done := connected(inside, name, bridge, ip)
	if !done {
		done, err = rejoin(name, bridge, inside, ip)
	}
	if err == nil && !done {
		err = makePair(bridge, name, ns, inside, ip, gateway)
	}
	if err == nil && six.IsValid() {
		err = connect6(inside, bridge, six)
	}
	return err
}

// makePair makes the pair anew, with IPv4.
func makePair(bridge netlink.Link, name string, ns netns.NsHandle, inside *netlink.Handle, ip netip.Addr, gateway netip.Prefix) error {
	if err := deleteLink(name); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = name, bridge.Attrs().MTU, bridge.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns), PeerMTU: uint32(bridge.Attrs().MTU)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make veth pair: %w", err)
	}
	host, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find veth: %w", err)
	}
	// A pod that reaches itself through its Service gets the packet back on
	// the port it left by.
	if err := netlink.LinkSetHairpin(host, true); err != nil {
		return fmt.Errorf("set hairpin mode: %w", err)
	}
	if err := netlink.LinkSetUp(host); err != nil {
		return fmt.Errorf("set veth up: %w", err)
	}
	return configureInside(inside, netip.PrefixFrom(ip, gateway.Bits()), gateway.Addr())
}

// connected reports whether the pod's link is already as connect makes it.
func connected(inside *netlink.Handle, name string, bridge netlink.Link, ip netip.Addr) bool {
	host, err := netlink.LinkByName(name)
	return err == nil && host.Attrs().MasterIndex == bridge.Attrs().Index && addressed(inside, ip)
}

// addressed reports whether the pod's end of its link is set up.
func addressed(inside *netlink.Handle, ip netip.Addr) bool {
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return false
	}
	addrs, err := inside.AddrList(eth0, netlink.FAMILY_V4)
	if err != nil || len(addrs) != 1 || !addrs[0].IP.Equal(ip.AsSlice()) {
		return false
	}
	routes, err := inside.RouteList(eth0, netlink.FAMILY_V4)
	return err == nil && len(routes) == 2
}

// rejoin puts a pod's link that lost its bridge on it again, and keeps by that
// the pod's connections.
func rejoin(name string, bridge netlink.Link, inside *netlink.Handle, ip netip.Addr) (bool, error) {
	host, err := netlink.LinkByName(name)
	if err != nil || host.Attrs().MasterIndex != 0 || !addressed(inside, ip) {
		return false, nil //nolint:nilerr // then it is made anew
	}
	if err := errors.Join(netlink.LinkSetMaster(host, bridge), netlink.LinkSetHairpin(host, true), netlink.LinkSetUp(host)); err != nil {
		return false, fmt.Errorf("put the link on the bridge: %w", err)
	}
	return true, nil
}

func configureInside(inside *netlink.Handle, addr netip.Prefix, gateway netip.Addr) error {
	if err := loopbackUp(inside); err != nil {
		return err
	}
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	if err := inside.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(addr)}); err != nil {
		return fmt.Errorf("give eth0 its address: %w", err)
	}
	if err := inside.LinkSetUp(eth0); err != nil {
		return fmt.Errorf("set eth0 up: %w", err)
	}
	route := &netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: gateway.AsSlice()}
	if err := inside.RouteAdd(route); err != nil {
		return fmt.Errorf("add default route: %w", err)
	}
	return nil
}

func loopbackUp(inside *netlink.Handle) error {
	lo, err := inside.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := inside.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

func deleteLink(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	// It can vanish in between with the namespace of its other end.
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

func deleteBridge(name string) error {
	bridge, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", name, err)
	}
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge.Attrs().Index && l.Type() == "veth" {
			errs = append(errs, deleteLink(l.Attrs().Name))
		}
	}
	return errors.Join(append(errs, deleteLink(name))...)
}

// defaultMTU is the MTU of the link with the default route, 1500 without one.
func defaultMTU() int {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 1500
	}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil && link.Attrs().MTU > 0 {
			return link.Attrs().MTU
		}
	}
	return 1500
}

// setSysctls makes the node forward for its pods.
func setSysctls(ctx context.Context, bridge string) error {
	// Without it packets between two pods on the bridge bypass iptables, and
	// a Service's answer does not find its way back.
	const callIptables = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	if _, err := os.Stat(callIptables); err != nil {
		// Best effort: the write below says what is missing.
		_ = exec.CommandContext(ctx, "modprobe", "br_netfilter").Run()
	}
	for _, s := range []struct{ file, value string }{
		{"/proc/sys/net/ipv4/ip_forward", "1"},
		{callIptables, "1"},
		// 127.0.0.1:hostPort is rewritten to a pod's address.
		{filepath.Join("/proc/sys/net/ipv4/conf", bridge, "route_localnet"), "1"},
	} {
		if old, err := os.ReadFile(s.file); err == nil && len(old) > 0 && string(old[:1]) == s.value {
			continue
		}
		if err := os.WriteFile(s.file, []byte(s.value), 0o644); err != nil {
			return fmt.Errorf("set sysctl (is the kernel module br_netfilter loaded?): %w", err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
