package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoPodCIDR is returned while the node has no range of pod addresses yet.
var ErrNoPodCIDR = errors.New("node has no podCIDR yet: pods get addresses once the node is registered")

// Config describes a node's pod network.
type Config struct {
	// Bridge is the name of the bridge, at most 15 characters.
	Bridge string
	// PodCIDR is the range pods of this node get addresses from. It may be
	// zero and set later by SetPodCIDRs. It is of IPv4.
	PodCIDR netip.Prefix
	// PodCIDR6 is the range of IPv6 that goes with PodCIDR, zero if there is none.
	PodCIDR6 netip.Prefix
	// ClusterCIDR contains the podCIDR of every node. Traffic from a pod that
	// leaves it takes the node's address. Zero means PodCIDR.
	ClusterCIDR netip.Prefix
	// ClusterCIDR6 is the same for IPv6; zero where pods have no IPv6 addresses.
	ClusterCIDR6 netip.Prefix
	// MTU of the bridge and the pods' links; zero takes that of the link with
	// the default route.
	MTU int
	// StateDir keeps one lease file per pod.
	StateDir string
	// Owner names the owner of the network, for others to see: the bridge and
	// the chains serve one cluster. If it is empty, ownership is not checked.
	Owner string
	// NameServer is the address of the node's name server, which HoldNameServer gives
	// to the link NameServerLink. Cleanup removes that link. Both may be zero.
	NameServer     netip.Addr
	NameServerLink string
	// Chains is the prefix of the names of our iptables chains, HWPODS if
	// empty; at most 14 characters. Chains whose names begin with HEADWAY- are
	// the service proxy's, which removes those that it does not know.
	Chains string
}

// HostPort maps a port of the node to a pod.
type HostPort struct {
	Protocol                string // TCP or UDP
	HostIP                  string
	HostPort, ContainerPort int32
}

// Network is the pod network of this node.
type Network struct {
	cfg Config
	log *slog.Logger

	mu     sync.Mutex
	ipam   *ipam
	ready  bool // bridge, sysctls and rules are set up
	bridge netlink.Link
	// written are the rules as they were written last.
	written [2]string // by family
	// busy are the pods whose links are being made or removed.
	busy map[string]bool
}

// New reads the leases of a previous run. It changes nothing on the machine
// before the first Attach.
func New(cfg Config, log *slog.Logger) (*Network, error) {
	if cfg.Chains == "" {
		cfg.Chains = "HWPODS"
	}
	switch {
	case cfg.Bridge == "" || len(cfg.Bridge) > 15:
		return nil, fmt.Errorf("bridge name %q must have 1 to 15 characters", cfg.Bridge)
	case len(cfg.Chains) > 14:
		return nil, fmt.Errorf("chain prefix %q is longer than 14 characters", cfg.Chains)
	case cfg.StateDir == "":
		return nil, errors.New("network: StateDir is empty")
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make network state directory: %w", err)
	}
	leases, err := loadLeases(cfg.StateDir, log)
	if err != nil {
		return nil, err
	}
	n := &Network{cfg: cfg, log: log, ipam: newIPAM(leases), busy: map[string]bool{}}
	if cfg.PodCIDR.IsValid() {
		if err := n.SetPodCIDRs(cfg.PodCIDR, cfg.PodCIDR6); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// SetPodCIDRs gives the node its ranges of pod addresses: of IPv4, and of IPv6 unless six
// is zero. Setting the same ranges again is no change; others are refused while pods have
// addresses outside of them, because they could no longer be reached.
func (n *Network) SetPodCIDRs(prefix, six netip.Prefix) error {
	prefix, six = prefix.Masked(), six.Masked()
	if six.IsValid() && (!six.Addr().Is6() || six.Addr().Is4In6() || six.Bits() > mostBits6) {
		return fmt.Errorf("podCIDR %s: need an IPv6 range of at most /%d", six, mostBits6)
	}
	if !prefix.Addr().Is4() || prefix.Bits() > 30 {
		return fmt.Errorf("podCIDR %s: need an IPv4 range of at least 4 addresses", prefix)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if prefix == n.ipam.prefix && six == n.ipam.six {
		return nil
	}
	for _, l := range n.ipam.leases {
		if !prefix.Contains(l.IP) {
			return fmt.Errorf("podCIDR %s: pod %s has address %s outside of it, of the range that this node had before: remove its pods (headway cleanup --keep-data), and start it again", prefix, l.Pod, l.IP)
		}
		if l.IP6.IsValid() && !six.Contains(l.IP6) {
			return fmt.Errorf("podCIDR %s: pod %s has address %s outside of it; remove the node's pods first", six, l.Pod, l.IP6)
		}
	}
	n.ipam.prefix, n.ipam.six = prefix, six
	n.ready = false
	return nil
}

// mostBits6 is the smallest IPv6 range: there is room for the IPv4 addresses in it.
const mostBits6 = 96

// Attach gives the pod whose network namespace is at netns an eth0 with an
// address and a default route, and maps its host ports. If the pod already has
// a lease it returns that one, and creates the link again if it is gone.
func (n *Network) Attach(ctx context.Context, pod, netns string, ports []HostPort) ([]netip.Addr, error) {
	if err := checkPorts(ports); err != nil {
		return nil, err
	}
	if err := n.checkHostIPs(ports); err != nil {
		return nil, err
	}
	for _, p := range ports {
		if err := n.inUse(p); err != nil {
			return nil, err
		}
	}
	lease, bridge, gateway, err := n.reserve(ctx, pod, netns, ports)
	if err != nil {
		return nil, err
	}
	if err := connect(bridge, n.vethName(pod), netns, lease.IP, lease.IP6, gateway); err != nil {
		// The address must not stay taken by a pod that never ran.
		return nil, errors.Join(fmt.Errorf("connect pod %s: %w", pod, err), n.Detach(ctx, pod))
	}
	n.setBusy(pod, false)
	if lease.IP6.IsValid() {
		return []netip.Addr{lease.IP, lease.IP6}, nil
	}
	return []netip.Addr{lease.IP}, nil
}

// reserve sets the node up if that is still to do, and takes an address and
// the host ports for a pod.
func (n *Network) reserve(ctx context.Context, pod, netns string, ports []HostPort) (Lease, netlink.Link, netip.Prefix, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var none netip.Prefix
	if !n.ipam.prefix.IsValid() {
		return Lease{}, nil, none, ErrNoPodCIDR
	}
	if err := n.ensureNode(ctx); err != nil {
		return Lease{}, nil, none, err
	}
	n.busy[pod] = true
	gateway := netip.PrefixFrom(n.ipam.gateway(), n.ipam.prefix.Bits())
	old, had := n.ipam.leases[pod]
	lease, err := n.ipam.take(pod, netns, ports)
	if err != nil {
		return Lease{}, nil, none, err
	}
	if had && old.NetNS == netns && slices.Equal(old.Ports, lease.Ports) {
		return lease, n.bridge, gateway, nil
	}
	if err := saveLease(n.cfg.StateDir, lease); err != nil {
		n.ipam.release(pod)
		return Lease{}, nil, none, err
	}
	if len(ports) > 0 || len(old.Ports) > 0 {
		if err := n.writeRules(ctx); err != nil {
			return Lease{}, nil, none, err
		}
	}
	return lease, n.bridge, gateway, nil
}

// Detach removes the pod's link, host ports and address. It succeeds if there
// is nothing to remove.
func (n *Network) Detach(ctx context.Context, pod string) error {
	// Also after a failure: a pod that goes gets no link again.
	n.setBusy(pod, true)
	if err := deleteLink(n.vethName(pod)); err != nil {
		return fmt.Errorf("disconnect pod %s: %w", pod, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	lease, ok := n.ipam.leases[pod]
	if !ok {
		delete(n.busy, pod)
		return nil
	}
	if err := n.forgetNeighbour(lease.IP6); err != nil {
		return fmt.Errorf("disconnect pod %s: %w", pod, err)
	}
	n.ipam.release(pod)
	if len(lease.Ports) > 0 {
		if err := n.writeRules(ctx); err != nil {
			// Taken until the rules to it are gone: for the next try.
			n.ipam.restore(lease)
			return err
		}
	}
	delete(n.busy, pod)
	// Last, so that an interrupted Detach is repeated.
	return removeLease(n.cfg.StateDir, pod)
}

func (n *Network) setBusy(pod string, busy bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if busy {
		n.busy[pod] = true
		return
	}
	delete(n.busy, pod)
}

// Cleanup removes the bridge with all links on it, the iptables chains and the
// leases.
func (n *Network) Cleanup(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready = false
	errs := []error{ipv4.removeRules(ctx, n.cfg.Chains), removeRules6(ctx, n.cfg.Chains), deleteBridge(n.cfg.Bridge)}
	if n.cfg.NameServerLink != "" {
		errs = append(errs, deleteBridge(n.cfg.NameServerLink))
	}
	for pod := range n.ipam.leases {
		errs = append(errs, removeLease(n.cfg.StateDir, pod))
		n.ipam.release(pod)
	}
	return errors.Join(errs...)
}

// ensureNode makes the bridge, writes the rules and sets the sysctls, once.
// The bridge is looked at every time: another program may have removed it.
func (n *Network) ensureNode(ctx context.Context) error {
	if n.ready {
		if _, err := netlink.LinkByName(n.cfg.Bridge); err == nil {
			return nil
		}
	}
	mtu := n.cfg.MTU
	if mtu == 0 {
		mtu = defaultMTU()
	}
	if err := n.claim(); err != nil {
		return err
	}
	bridge, err := ensureBridge(n.cfg.Bridge, netip.PrefixFrom(n.ipam.gateway(), n.ipam.prefix.Bits()), mtu)
	if err != nil {
		return err
	}
	n.bridge = bridge
	if err := n.mark(bridge); err != nil {
		return err
	}
	// In this order: the rules guard what the sysctls open.
	if err := errors.Join(n.writeRules(ctx), n.ensureJumps(ctx)); err != nil {
		return err
	}
	if err := setSysctls(ctx, n.cfg.Bridge); err != nil {
		return err
	}
	if n.ipam.six.IsValid() {
		if err := setUp6(bridge, n.gateway6()); err != nil {
			return err
		}
	}
	n.ready = true
	return nil
}

// writeRules writes our chains in one transaction of one program.
func (n *Network) writeRules(ctx context.Context) error {
	for _, f := range n.families() {
		want := n.rules(f)
		n.written[f] = ""
		if err := f.restore(ctx, want); err != nil {
			return fmt.Errorf("write rules of %s: %w", f.program(), err)
		}
		n.written[f] = want
	}
	return nil
}

// rules are the rules of now of one family.
func (n *Network) rules(f family) string {
	cluster := n.cfg.ClusterCIDR
	if !cluster.IsValid() {
		cluster = n.ipam.prefix
	}
	leases := n.ipam.sorted()
	for i, l := range leases {
		// A program that came to listen after the pod keeps its port.
		leases[i].Ports = slices.DeleteFunc(slices.Clone(l.Ports), func(p HostPort) bool { return errors.Is(n.inUse(p), unix.EADDRINUSE) })
	}
	if f == ipv6 {
		return rules6(ruleInput{Chains: n.cfg.Chains, Bridge: n.cfg.Bridge, PodCIDR: n.ipam.six, ClusterCIDR: n.cfg.ClusterCIDR6, Leases: leases})
	}
	return rules(ruleInput{
		Chains: n.cfg.Chains, Bridge: n.cfg.Bridge,
		PodCIDR: n.ipam.prefix, ClusterCIDR: cluster, Leases: leases,
	})
}

// vethName is the host end of a pod's link. It depends on the bridge too, so
// that two agents on one machine never meet.
func (n *Network) vethName(pod string) string {
	sum := sha256.Sum256([]byte(n.cfg.Bridge + "/" + pod))
	return "veth" + hex.EncodeToString(sum[:5])
}
