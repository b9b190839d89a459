package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"headway.dev/proxy/service"
)

// routeProtocol marks the route that we add as ours.
const routeProtocol = 77

// Prepare sets the kernel's parameters that the rules need: forwarding, and that
// packets between two ports of a bridge pass the rules. It also adds a route to each service range that the machine has none to
// (for example no default route), because a connection without a route fails
// before it reaches any rule.
func Prepare(cfg service.Config) error {
	sysctls := map[string]bool{ // true if the kernel may lack it
		"net/ipv4/ip_forward":                false,
		"net/bridge/bridge-nf-call-iptables": true, // there once br_netfilter is loaded
	}
	if len(cfg.ServiceRanges(service.IPv6)) > 0 {
		sysctls["net/ipv6/conf/all/forwarding"] = false
		sysctls["net/bridge/bridge-nf-call-ip6tables"] = true
	}
	for name, optional := range sysctls {
		if err := setSysctl("/proc/sys/"+name, "1"); err != nil && (!optional || !errors.Is(err, os.ErrNotExist)) {
			return fmt.Errorf("set sysctl %s: %w", strings.ReplaceAll(name, "/", "."), err)
		}
	}
	for _, f := range cfg.Families() {
		for _, r := range cfg.ServiceRanges(f) {
			if err := ensureServiceRoute(f, r); err != nil {
				return fmt.Errorf("route the service range %s: %w", r, err)
			}
		}
	}
	return nil
}

func setSysctl(path, value string) error {
	have, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(have)) == value {
		return nil // writing may be forbidden where reading is not
	}
	return os.WriteFile(path, []byte(value), 0o644)
}

func ensureServiceRoute(f service.Family, services netip.Prefix) error {
	dst := &net.IPNet{IP: services.Addr().AsSlice(), Mask: net.CIDRMask(services.Bits(), f.Bits())}
	if _, err := netlink.RouteGet(services.Addr().Next().AsSlice()); err == nil {
		return nil
	}
	// It must not be the loopback device: refusals of connections to an address
	// that the kernel takes for its own are not sent.
	via, err := nodeAddress(f)
	if err != nil {
		return err
	}
	if via == nil {
		return nil // no network yet, so there is nothing to reach either
	}
	route := &netlink.Route{LinkIndex: via.LinkIndex, Src: via.IP, Dst: dst, Scope: unix.RT_SCOPE_LINK, Protocol: routeProtocol}
	return netlink.RouteReplace(route)
}

// nodeAddress is the first address of the machine that is not only its own; nil
// if there is none.
func nodeAddress(f service.Family) (*netlink.Addr, error) {
	addrs, err := netlink.AddrList(nil, netlinkFamily(f))
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if a.Scope == unix.RT_SCOPE_UNIVERSE && !a.IP.IsLoopback() {
			return &a, nil
		}
	}
	return nil, nil
}

func netlinkFamily(f service.Family) int {
	if f == service.IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// Cleanup removes the routes that Prepare added. What OpenLoopback did has been
// undone before: the rules are there until then.
func Cleanup() error {
	var errs []error
	for _, f := range []service.Family{service.IPv4, service.IPv6} {
		routes, err := netlink.RouteListFiltered(netlinkFamily(f), &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			errs = append(errs, fmt.Errorf("list %s routes: %w", f, err))
		}
		for _, r := range routes {
			errs = append(errs, netlink.RouteDel(&r))
		}
	}
	return errors.Join(errs...)
}
