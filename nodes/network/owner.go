package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
)

// ownerPrefix begins the alias of a bridge (ip link show): what follows is its
// owner's data dir.
const ownerPrefix = "headway: "

// OwnedError reports that the pod network of this machine belongs to another
// cluster.
type OwnedError struct{ Bridge, Owner string }

func (e *OwnedError) Error() string {
	return fmt.Sprintf("the pod network of this machine (bridge %s) belongs to the cluster of the data dir %s, whose containers use it: "+
		"end that one and remove it with headway cleanup --data-dir %s, or start this one in a network namespace of its own", e.Bridge, e.Owner, e.Owner)
}

// Claim fails with an *OwnedError if the bridge belongs to another cluster. A
// cluster whose data directory is gone no longer owns anything.
func (n *Network) Claim() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.claim()
}

func (n *Network) claim() error {
	if n.cfg.Owner == "" {
		return nil
	}
	link, err := netlink.LinkByName(n.cfg.Bridge)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", n.cfg.Bridge, err)
	}
	owner, ok := strings.CutPrefix(link.Attrs().Alias, ownerPrefix)
	if !ok || owner == n.cfg.Owner {
		return nil
	}
	if _, err := os.Stat(owner); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return &OwnedError{Bridge: n.cfg.Bridge, Owner: owner}
}

// mark writes the owner on the bridge.
func (n *Network) mark(bridge netlink.Link) error {
	alias := ownerPrefix + n.cfg.Owner
	if n.cfg.Owner == "" || bridge.Attrs().Alias == alias {
		return nil
	}
	if err := netlink.LinkSetAlias(bridge, alias); err != nil {
		return fmt.Errorf("mark bridge %s as ours: %w", n.cfg.Bridge, err)
	}
	return nil
}
