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
			// A rule without it would open the port at every address.
			if !ip.Is4() {
				return fmt.Errorf("host port %d at %s: host ports are opened at IPv4 addresses only", p.HostPort, p.HostIP)
			}
		}
	}
	return nil
}

// inUse fails with EADDRINUSE if a program of the node listens on a host port:
// the rules would take its connections, those of the node to itself included.
// The kernel is asked by binding a socket, which is closed at once.
func inUse(p HostPort) error {
	kind, protocol := unix.SOCK_STREAM, "TCP"
	switch p.Protocol {
	case "UDP":
		kind, protocol = unix.SOCK_DGRAM, "UDP"
	case "SCTP":
		return nil // nobody can listen without the kernel's module, which is rarely there
	}
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
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
	addr := unix.SockaddrInet4{Port: int(p.HostPort)}
	if ip, err := netip.ParseAddr(p.HostIP); err == nil && ip.Is4() {
		addr.Addr = ip.As4()
	}
	if err := unix.Bind(fd, &addr); errors.Is(err, unix.EADDRINUSE) {
		on := strings.TrimSuffix(" on "+p.HostIP, " on ")
		return fmt.Errorf("host port %d (%s)%s is used by a program of the node: choose another hostPort, or stop that program: %w", p.HostPort, protocol, on, err)
	}
	return nil // an address that the node does not have is nobody's
}
