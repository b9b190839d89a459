package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// HoldNameServer gives the node the address of its name server, on a link of its own
// that leads nowhere: pods reach it by their default route, others on the node by
// themselves, and nobody else at all. It may be called again and again.
func (n *Network) HoldNameServer() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.cfg.NameServer.IsValid() {
		return nil
	}
	if err := n.claim(); err != nil {
		return err
	}
	name := n.cfg.NameServerLink
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		// A bridge without ports, as kernels without the module dummy have those.
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("make link %s: %w", name, err)
		}
		link, err = netlink.LinkByName(name)
	}
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if err := setOnlyAddr(link, netip.PrefixFrom(n.cfg.NameServer, n.cfg.NameServer.BitLen())); err != nil {
		return fmt.Errorf("give link %s its address: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set link %s up: %w", name, err)
	}
	return nil
}
