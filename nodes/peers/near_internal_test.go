package peers

import (
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A peer is near on a network whose machines answer for their addresses, and not behind a
// router, nor on a link that leads to one other end.
func TestNear(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("make a network namespace: %v", err)
			return
		}
		link := func(l netlink.Link, address string) {
			addr, err := netlink.ParseAddr(address)
			if err == nil {
				err = netlink.LinkAdd(l)
			}
			if err == nil {
				err = netlink.AddrAdd(l, addr)
			}
			if err == nil {
				err = netlink.LinkSetUp(l)
			}
			if err != nil {
				t.Errorf("make the link %s: %v", l.Attrs().Name, err)
			}
		}
		named := func(name string) netlink.LinkAttrs {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = name
			return attrs
		}
		link(&netlink.Bridge{LinkAttrs: named("lan")}, "192.0.2.1/24")
		link(&netlink.Veth{LinkAttrs: named("silent"), PeerName: "other"}, "198.51.100.1/24")
		if err := netlink.LinkSetARPOff(&netlink.Veth{LinkAttrs: named("silent")}); err != nil {
			t.Errorf("set the link silent: %v", err)
		}
		link(&netlink.Tuntap{LinkAttrs: named("tun"), Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_DEFAULTS}, "203.0.113.1/24")
		_, beyond, _ := net.ParseCIDR("192.168.7.0/24")
		if err := netlink.RouteAdd(&netlink.Route{Dst: beyond, Gw: net.IPv4(192, 0, 2, 254)}); err != nil {
			t.Errorf("make a route: %v", err)
		}
		for ip, want := range map[string]bool{"192.0.2.7": true, "192.168.7.7": false, "198.51.100.7": false, "203.0.113.7": false} {
			if got, err := near(netip.MustParseAddr(ip)); err != nil || got != want {
				t.Errorf("%s is near: %t, %v; want %t", ip, got, err, want)
			}
		}
		if got, err := near(netip.MustParseAddr("10.9.9.9")); err == nil {
			t.Errorf("an address without a route is near: %t", got)
		}
	}()
	<-done
}
