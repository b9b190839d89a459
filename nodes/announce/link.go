package announce

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hold gives the link these addresses and no others. Without any there is no link.
func hold(name string, want []netip.Addr) error {
	link, err := netlink.LinkByName(name)
	missing := errors.As(err, &netlink.LinkNotFoundError{})
	switch {
	case missing && len(want) == 0:
		return nil
	case missing:
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		// A bridge without ports, as kernels without the module dummy have those.
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return fmt.Errorf("make link %s: %w", name, err)
		}
		if link, err = netlink.LinkByName(name); err != nil {
			return fmt.Errorf("find link %s: %w", name, err)
		}
	case err != nil:
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if link.Type() != "bridge" {
		return fmt.Errorf("link %s exists and is a %s, not a bridge: remove it", name, link.Type())
	}
	if len(want) == 0 {
		if err := netlink.LinkDel(link); err != nil {
			return fmt.Errorf("remove link %s: %w", name, err)
		}
		return nil
	}
	have, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", name, err)
	}
	var errs []error
	for _, a := range have {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); !ok || !slices.Contains(want, ip) {
			errs = append(errs, netlink.AddrDel(link, &a))
		}
	}
	for _, ip := range want {
		err := netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(32, 32)}})
		if err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, fmt.Errorf("add %s: %w", ip, err))
		}
	}
	if err := errors.Join(append(errs, netlink.LinkSetUp(link))...); err != nil {
		return fmt.Errorf("give link %s its addresses: %w", name, err)
	}
	return nil
}

// tell announces addresses to the neighbours on the link of the node's address: who has
// another node's hardware address for one of them takes this one's (RFC 5227, 3).
func tell(node netip.Addr, ips []netip.Addr) error {
	if len(ips) == 0 {
		return nil
	}
	link, err := linkOf(node)
	if err != nil {
		return err
	}
	hardware := link.Attrs().HardwareAddr
	if len(hardware) != 6 {
		return nil // a tunnel: there are no neighbours that ask
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket for ARP: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	to := unix.SockaddrLinklayer{Protocol: 0x0608 /* ETH_P_ARP in the order of the network */, Ifindex: link.Attrs().Index, Halen: 6}
	copy(to.Addr[:], net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	for _, ip := range ips {
		if err := unix.Sendto(fd, announcement(hardware, ip), 0, &to); err != nil {
			return fmt.Errorf("announce %s: %w", ip, err)
		}
	}
	return nil
}

// announcement is an ARP request by which an address asks for itself.
func announcement(hardware net.HardwareAddr, ip netip.Addr) []byte {
	p := make([]byte, 28)
	binary.BigEndian.PutUint16(p[0:], 1)      // Ethernet
	binary.BigEndian.PutUint16(p[2:], 0x0800) // IPv4
	p[4], p[5] = 6, 4
	binary.BigEndian.PutUint16(p[6:], 1) // a request
	copy(p[8:], hardware)
	copy(p[14:], ip.AsSlice())
	copy(p[24:], ip.AsSlice())
	return p
}

func linkOf(node netip.Addr) (netlink.Link, error) {
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok && ip == node {
			link, err := netlink.LinkByIndex(a.LinkIndex)
			if err != nil {
				return nil, fmt.Errorf("find the link of %s: %w", node, err)
			}
			return link, nil
		}
	}
	return nil, fmt.Errorf("no link has the node's address %s", node)
}

// Cleanup removes the addresses and their link.
func Cleanup(link string) error { return hold(link, nil) }
