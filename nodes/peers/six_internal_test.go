package peers

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// TestPlanOfBothFamilies: the pods of a node are reached by IPv6 at its address where that
// is near, and else through the tunnel to its IPv4 address; ranges that are not the
// cluster's, or another's, are not routed to.
func TestPlanOfBothFamilies(t *testing.T) {
	var peers []peer
	for _, c := range []struct{ name, pods, pods6, ip, ip6 string }{
		{"a", "10.42.1.0/24", "fd42:0:0:1::/64", "192.0.2.1", "2001:db8::1"},
		{"b", "10.42.2.0/24", "fd42:0:0:2::/64", "192.0.2.2", "2001:db8:f::2"},
		{"c", "10.42.3.0/24", "fd42:0:0:3::/64", "198.51.100.3", "::ffff:198.51.100.3"},
		{"d", "10.42.4.0/24", "fd43::/64", "192.0.2.4", "2001:db8::4"},
		{"e", "10.42.5.0/24", "fd42:0:0:1::/80", "192.0.2.5", "2001:db8::5"},
		{"f", "10.42.6.0/24", "fd42:0:0:9::/64", "192.0.2.6", "2001:db8::6"},
	} {
		n := &corev1.Node{Spec: corev1.NodeSpec{PodCIDR: c.pods, PodCIDRs: []string{c.pods, c.pods6}}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: c.ip6}, {Type: corev1.NodeInternalIP, Address: c.ip},
		}}}
		n.Name = c.name
		p, ok := read(n, netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/48"))
		if !ok {
			t.Fatalf("node %s is no peer", c.name)
		}
		peers = append(peers, p)
	}
	near := func(ip netip.Addr) (bool, error) {
		return netip.MustParsePrefix("192.0.2.0/24").Contains(ip) || netip.MustParsePrefix("2001:db8::/64").Contains(ip), nil
	}
	got, err := plan(peers, netip.MustParsePrefix("10.42.9.0/24"), netip.MustParsePrefix("fd42:0:0:9::/64"), near)
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for _, r := range got {
		if r.pods.Addr().Is6() {
			text[r.pods.String()] = r.via.String()
			if r.tunnel {
				text[r.pods.String()] += " in the tunnel to " + r.outer.String()
			}
		}
	}
	if d := cmp.Diff(map[string]string{
		"fd42:0:0:1::/64": "2001:db8::1",
		"fd42:0:0:2::/64": "fe80::a68:0:c000:202 in the tunnel to 192.0.2.2",
		"fd42:0:0:3::/64": "fe80::a68:0:c633:6403 in the tunnel to 198.51.100.3",
	}, text); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
