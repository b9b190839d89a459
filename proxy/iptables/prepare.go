package iptables

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeProtocol marks the route that we add as ours.
const routeProtocol = 77

// Prepare sets the kernel's parameters that the rules need: forwarding, node
// ports on 127.0.0.1, and that packets between two ports of a bridge pass the
// rules. It also adds a route to the service range if the machine has none (for
// example no default route), because a connection without a route fails before
// it reaches any rule.
func Prepare(services netip.Prefix) error {
	for name, optional := range map[string]bool{
		"net/ipv4/ip_forward":                false,
		"net/ipv4/conf/all/route_localnet":   false,
		"net/bridge/bridge-nf-call-iptables": true, // there once br_netfilter is loaded
	} {
		if err := setSysctl("/proc/sys/"+name, "1"); err != nil && (!optional || !errors.Is(err, os.ErrNotExist)) {
			return fmt.Errorf("set sysctl %s: %w", strings.ReplaceAll(name, "/", "."), err)
		}
	}
	return ensureServiceRoute(services)
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

func ensureServiceRoute(services netip.Prefix) error {
	if !services.IsValid() || !services.Addr().Is4() {
		return nil
	}
	dst := &net.IPNet{IP: services.Masked().Addr().AsSlice(), Mask: net.CIDRMask(services.Bits(), 32)}
	if _, err := netlink.RouteGet(services.Addr().Next().AsSlice()); err == nil {
		return nil
	}
	// It must not be the loopback device: refusals of connections to an address
	// that the kernel takes for its own are not sent.
	via, err := nodeAddress()
	if err != nil {
		return fmt.Errorf("route the service range %s: %w", services, err)
	}
	if via == nil {
		return nil // no network yet, so there is nothing to reach either
	}
	route := &netlink.Route{LinkIndex: via.LinkIndex, Src: via.IP, Dst: dst, Scope: unix.RT_SCOPE_LINK, Protocol: routeProtocol}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("route the service range %s: %w", services, err)
	}
	return nil
}

// nodeAddress is the first address of the machine that is not only its own; nil
// if there is none.
func nodeAddress() (*netlink.Addr, error) {
	addrs, err := netlink.AddrList(nil, unix.AF_INET)
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

func removeServiceRoute() error {
	routes, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	var errs []error
	for _, r := range routes {
		errs = append(errs, netlink.RouteDel(&r))
	}
	return errors.Join(errs...)
}
