package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// nodeBits is the size of a node's range: /24, 254 pods.
const nodeBits = 24

// nodeBits6 is the size of a node's range of IPv6, kube-controller-manager's default
// (--node-cidr-mask-size-ipv6).
const nodeBits6 = 64

type ipam struct {
	control.Env
	cluster  netip.Prefix
	cluster6 netip.Prefix   // not valid: nodes get no range of IPv6
	ranges   *control.Index // nodes by range, if it is one of the cluster's
	without  *control.Index // nodes without one, all under ""
	next     uint32         // where to look first; owned by the one worker
}

// NewIPAM makes the node-ipam controller; without a valid IPv4 cluster range,
// nodes get none. cluster6 is the one of IPv6, if there is one; it has as many ranges as
// cluster at least.
func NewIPAM(env control.Env, cluster, cluster6 netip.Prefix) control.Controller {
	c := &ipam{Env: env, cluster: cluster.Masked(), cluster6: cluster6.Masked()}
	c.ranges = env.Feed.Index("nodes by pod CIDR", func(obj object.Object) []string {
		if cidr := c.rangeOf(obj); cidr != "" {
			return []string{cidr}
		}
		return nil
	}, control.Node)
	c.without = env.Feed.Index("nodes without a pod CIDR", func(obj object.Object) []string {
		if node, ok := obj.(*corev1.Node); ok && node.Spec.PodCIDR == "" {
			return []string{""}
		}
		return nil
	}, control.Node)
	return control.Controller{Name: "node-ipam-controller", Keys: c.keys, Reconcile: c.reconcile}
}

// keys are a node without a range, and all of them if one is free again.
func (c *ipam) keys(ev object.Event, add func(object.Key)) {
	node, ok := ev.Object.(*corev1.Node)
	if !ok {
		return
	}
	if ev.Type != object.Deleted && node.Spec.PodCIDR == "" {
		add(ev.Key)
	}
	if was := c.rangeOf(ev.Old); was != "" && c.ranges.Len(was) == 0 {
		for _, key := range c.without.Keys("") {
			add(key)
		}
	}
}

// rangeOf is the range of a node, "" if it has none of the cluster's.
func (c *ipam) rangeOf(obj object.Object) string {
	node, ok := obj.(*corev1.Node)
	if !ok || node.Spec.PodCIDR == "" {
		return ""
	}
	cidr, err := netip.ParsePrefix(node.Spec.PodCIDR)
	if err != nil || cidr.Bits() != c.bits() || !c.cluster.Contains(cidr.Addr()) {
		return ""
	}
	return cidr.Masked().String()
}

// bits is the size of ranges.
func (c *ipam) bits() int { return max(c.cluster.Bits(), nodeBits) }

func (c *ipam) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	node := control.Get[corev1.Node](c.Store, key)
	if node == nil || node.Spec.PodCIDR != "" || !c.cluster.IsValid() || !c.cluster.Addr().Is4() {
		return 0, nil
	}
	cidr, ok := c.free()
	if !ok {
		// A range that is free again wakes up those that have none.
		c.Events.Normal("cidrAllocator", node, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", node.Name)
		return 0, nil
	}
	cidrs := []string{cidr.String()}
	if six := c.range6(cidr); six.IsValid() {
		cidrs = append(cidrs, six.String())
	}
	_, err := c.Commit(ctx, change.Tx{Changes: []change.Change{control.Guarded(change.Patch(key, func(obj object.Object) bool {
		stored := obj.(*corev1.Node)
		if stored.Spec.PodCIDR != "" {
			return false
		}
		stored.Spec.PodCIDR, stored.Spec.PodCIDRs = cidrs[0], cidrs
		return true
	}), control.SameUID(node.UID))}})
	if err != nil {
		return 0, fmt.Errorf("give %s the pod CIDR %s: %w", key, cidr, err)
	}
	return 0, nil
}

// range6 is the range of IPv6 that goes with one of IPv4: it has the same number, so that
// it is free when that is.
func (c *ipam) range6(cidr netip.Prefix) netip.Prefix {
	if !c.cluster6.IsValid() {
		return netip.Prefix{}
	}
	base, own := c.cluster.Addr().As4(), cidr.Addr().As4()
	number := uint64(binary.BigEndian.Uint32(own[:])-binary.BigEndian.Uint32(base[:])) >> (32 - cidr.Bits())
	raw := c.cluster6.Addr().As16()
	binary.BigEndian.PutUint64(raw[:8], binary.BigEndian.Uint64(raw[:8])+number)
	return netip.PrefixFrom(netip.AddrFrom16(raw), nodeBits6)
}

// free finds a range that no node has.
func (c *ipam) free() (netip.Prefix, bool) {
	bits := c.bits()
	count := uint32(1) << (bits - c.cluster.Bits())
	if c.ranges.Values() >= int(count) {
		return netip.Prefix{}, false
	}
	base := c.cluster.Addr().As4()
	for i := range count {
		n := (c.next + i) % count
		var addr [4]byte
		binary.BigEndian.PutUint32(addr[:], binary.BigEndian.Uint32(base[:])+n<<(32-bits))
		cidr := netip.PrefixFrom(netip.AddrFrom4(addr), bits)
		if c.ranges.Len(cidr.String()) == 0 {
			c.next = n + 1
			return cidr, true
		}
	}
	return netip.Prefix{}, false
}
