package network

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// healPeriod is how often rules are looked at. Links tell of their end.
const healPeriod = 10 * time.Second

// Run repairs the network until ctx ends: the bridge and the pods' links at
// once, rules within seconds. It also gives host ports back to programs of the
// node that have started to listen on them.
func (n *Network) Run(ctx context.Context) {
	updates := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribe(updates, ctx.Done()); err != nil {
		n.log.Warn("links that are removed are put back only every few seconds", "err", err)
		updates = nil
	}
	tick := time.NewTicker(healPeriod)
	defer tick.Stop()
	retry := time.NewTimer(healPeriod)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			if updates != nil {
				for range updates {
					continue // until who sends has seen the end
				}
			}
			return
		case u, ok := <-updates:
			if !ok {
				updates = nil // the ticker goes on
				continue
			}
			if !n.lost(u) {
				continue
			}
		case <-tick.C:
		case <-retry.C:
		}
		if err := n.heal(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("the pod network is not whole; trying again in 1s", "err", err)
			retry.Reset(time.Second)
		}
	}
}

// lost reports whether a change of a link takes something from the pod network.
func (n *Network) lost(u netlink.LinkUpdate) bool {
	name, gone := u.Attrs().Name, u.Header.Type == unix.RTM_DELLINK
	n.mu.Lock()
	defer n.mu.Unlock()
	if name == n.cfg.Bridge {
		return gone || u.Attrs().Flags&unix.IFF_UP == 0
	}
	for pod := range n.ipam.leases {
		if n.vethName(pod) == name {
			return !n.busy[pod] && (gone || n.bridge == nil || u.Attrs().MasterIndex != n.bridge.Attrs().Index)
		}
	}
	return false
}

// heal brings links and rules into the state in which they should be. It changes
// nothing before the first pod.
func (n *Network) heal(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ready {
		return nil
	}
	link, err := netlink.LinkByName(n.cfg.Bridge)
	if err != nil || link.Attrs().Flags&unix.IFF_UP == 0 {
		n.log.Warn("the bridge of the pods was taken away or down; putting it back", "bridge", n.cfg.Bridge)
		n.ready = false
		if err := n.ensureNode(ctx); err != nil {
			return err
		}
	}
	gateway := netip.PrefixFrom(n.ipam.gateway(), n.ipam.prefix.Bits())
	var errs []error
	for _, l := range n.ipam.sorted() {
		if n.busy[l.Pod] || l.NetNS == "" {
			continue
		}
		if _, err := os.Stat(l.NetNS); err != nil {
			continue // its namespace is gone: it will be made anew, or removed
		}
		errs = append(errs, connect(n.bridge, n.vethName(l.Pod), l.NetNS, l.IP, l.IP6, gateway))
	}
	// Others write them too (sysctl --system): without them packets between pods of the
	// node pass no forward hook, and so no policy.
	errs = append(errs, setSysctls(ctx, n.cfg.Bridge), n.healRules(ctx))
	if n.ipam.six.IsValid() {
		errs = append(errs, setUp6(n.bridge, n.gateway6()))
	}
	return errors.Join(errs...)
}

func (n *Network) healRules(ctx context.Context) error {
	whole := true
	for _, f := range n.families() {
		want := n.rules(f)
		whole = whole && want == n.written[f] && f.hasRules(ctx, n.cfg.Chains, strings.Count(want, "\n-A "+n.cfg.Chains+"-"))
	}
	if whole {
		return nil
	}
	n.log.Info("writing the rules of the pod network again")
	return errors.Join(n.writeRules(ctx), n.ensureJumps(ctx))
}

// hasRules reports whether the kernel's chains lead to ours, and those have as
// many rules as they should.
func (f family) hasRules(ctx context.Context, chains string, count int) bool {
	for _, j := range f.jumps(chains) {
		if f.iptables(ctx, j.args("-C")...) != nil {
			return false
		}
	}
	seen := map[string]bool{}
	for _, j := range f.jumps(chains) {
		if seen[j.to] {
			continue
		}
		seen[j.to] = true
		out, err := exec.CommandContext(ctx, f.program(), "-w", "10", "-t", j.table, "-S", j.to).Output()
		if err != nil {
			return false
		}
		count -= strings.Count(string(out), "-A "+j.to+" ")
	}
	return count == 0
}
