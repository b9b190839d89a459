package network

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

func checkPorts(ports []HostPort) error {
	for _, p := range ports {
		if p.HostPort < 1 || p.HostPort > 65535 || p.ContainerPort < 1 || p.ContainerPort > 65535 {
			return fmt.Errorf("host port %d to %d: ports are 1 to 65535", p.HostPort, p.ContainerPort)
		}
		if p.Protocol != "" && p.Protocol != "TCP" && p.Protocol != "UDP" && p.Protocol != "SCTP" {
			return fmt.Errorf("host port %d: unknown protocol %q", p.HostPort, p.Protocol)
		}
		if p.HostIP != "" {
			ip, err := netip.ParseAddr(p.HostIP)
			if err != nil {
				return fmt.Errorf("host port %d: %w", p.HostPort, err)
			}
			if ip.Is4In6() || ip.Zone() != "" {
				return fmt.Errorf("host port %d at %s: host ports are opened at IPv4 addresses only, or at those of IPv6 without a zone", p.HostPort, p.HostIP)
			}
		}
	}
	return nil
}

// checkHostIPs refuses host ports at IPv6 addresses where pods have none: a rule without
// the address would open the port at every one.
func (n *Network) checkHostIPs(ports []HostPort) error {
	if n.cfg.ClusterCIDR6.IsValid() {
		return nil
	}
	for _, p := range ports {
		if ip, err := netip.ParseAddr(p.HostIP); err == nil && !ip.Is4() {
			return fmt.Errorf("host port %d at %s: host ports are opened at IPv4 addresses only, as this cluster has no --cluster-cidr of IPv6", p.HostPort, p.HostIP)
		}
	}
	return nil
}

// inUse fails with EADDRINUSE if a program of the node listens on a host port, of a family
// that it would be opened for.
func (n *Network) inUse(p HostPort) error {
	for _, f := range n.families() {
		if ip, err := netip.ParseAddr(p.HostIP); err == nil && ip.Is4() != (f == ipv4) {
			continue
		}
		if err := f.inUse(p); err != nil {
			return err
		}
	}
	return nil
}

// inUse fails with EADDRINUSE if a program of the node listens on a host port:
// the rules would take its connections, those of the node to itself included.
// The kernel is asked by binding a socket, which is closed at once.
func (f family) inUse(p HostPort) error {
	kind, protocol := unix.SOCK_STREAM, "TCP"
	switch p.Protocol {
	case "UDP":
		kind, protocol = unix.SOCK_DGRAM, "UDP"
	case "SCTP":
		return nil // nobody can listen without the kernel's module, which is rarely there
	}
	fd, err := unix.Socket(f.domain(), kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("look whether host port %d is free: %w", p.HostPort, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if kind == unix.SOCK_STREAM {
		// Connections that have ended do not hold the port.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return fmt.Errorf("look whether host port %d is free: %w", p.HostPort, err)
		}
	}
	if f == ipv6 { // or else those of IPv4 were asked, too
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return fmt.Errorf("look whether host port %d is free: %w", p.HostPort, err)
		}
	}
	if err := unix.Bind(fd, f.socketAddress(p)); errors.Is(err, unix.EADDRINUSE) {
		on := strings.TrimSuffix(" on "+p.HostIP, " on ")
		return fmt.Errorf("host port %d (%s)%s is used by a program of the node: choose another hostPort, or stop that program: %w", p.HostPort, protocol, on, err)
	}
	return nil // an address that the node does not have is nobody's
}
