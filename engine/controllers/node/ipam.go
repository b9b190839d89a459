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

type ipam struct {
	control.Env
	cluster netip.Prefix
	ranges  *control.Index // nodes by range
	next    uint32         // where to look first; owned by the one worker
}

// NewIPAM makes the node-ipam controller; without a valid IPv4 cluster range,
// nodes get none.
func NewIPAM(env control.Env, cluster netip.Prefix) control.Controller {
	c := &ipam{Env: env, cluster: cluster.Masked()}
	c.ranges = env.Feed.Index("nodes by pod CIDR", func(obj object.Object) []string {
		if node, ok := obj.(*corev1.Node); ok && node.Spec.PodCIDR != "" {
			return []string{node.Spec.PodCIDR}
		}
		return nil
	}, control.Node)
	return control.Controller{
		Name: "node-ipam-controller",
		Keys: func(ev object.Event, add func(object.Key)) {
			if node, ok := ev.Object.(*corev1.Node); ok && ev.Type != object.Deleted && node.Spec.PodCIDR == "" {
				add(ev.Key)
			}
		},
		Reconcile: c.reconcile,
	}
}

func (c *ipam) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	node := control.Get[corev1.Node](c.Store, key)
	if node == nil || node.Spec.PodCIDR != "" || !c.cluster.IsValid() || !c.cluster.Addr().Is4() {
		return 0, nil
	}
	cidr, ok := c.free()
	if !ok {
		c.Events.Normal("cidrAllocator", node, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", node.Name)
		return 0, fmt.Errorf("give %s a pod CIDR: all of %s is taken", key, c.cluster)
	}
	_, err := c.Commit(ctx, change.Tx{Changes: []change.Change{control.Guarded(change.Patch(key, func(obj object.Object) bool {
		stored := obj.(*corev1.Node)
		if stored.Spec.PodCIDR != "" {
			return false
		}
		stored.Spec.PodCIDR, stored.Spec.PodCIDRs = cidr.String(), []string{cidr.String()}
		return true
	}), control.SameUID(node.UID))}})
	if err != nil {
		return 0, fmt.Errorf("give %s the pod CIDR %s: %w", key, cidr, err)
	}
	return 0, nil
}

// free finds a range that no node has.
func (c *ipam) free() (netip.Prefix, bool) {
	bits := max(c.cluster.Bits(), nodeBits)
	count := uint32(1) << (bits - c.cluster.Bits())
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
