package peers

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// A Node is a peer once it has an address and a range of the cluster's.
func TestRead(t *testing.T) {
	cluster := netip.MustParsePrefix("10.42.0.0/16")
	for name, c := range map[string]struct {
		cidr, address string
		kind          corev1.NodeAddressType
		want          bool
	}{
		"whole":              {"10.42.3.0/24", "192.0.2.3", corev1.NodeInternalIP, true},
		"no range":           {"", "192.0.2.3", corev1.NodeInternalIP, false},
		"no address":         {"10.42.3.0/24", "", corev1.NodeInternalIP, false},
		"a name":             {"10.42.3.0/24", "node-3", corev1.NodeHostName, false},
		"another's range":    {"10.43.3.0/24", "192.0.2.3", corev1.NodeInternalIP, false},
		"all of the cluster": {"10.0.0.0/8", "192.0.2.3", corev1.NodeInternalIP, false},
		"IPv6":               {"fd00::/64", "192.0.2.3", corev1.NodeInternalIP, false},
		"an IPv6 address":    {"10.42.3.0/24", "2001:db8::3", corev1.NodeInternalIP, false},
	} {
		n := &corev1.Node{Spec: corev1.NodeSpec{PodCIDR: c.cidr}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: c.kind, Address: c.address}}}}
		n.Name = "node-3"
		got, ok := read(n, cluster)
		if ok != c.want || ok && got != (peer{"node-3", netip.MustParseAddr("192.0.2.3"), netip.MustParsePrefix("10.42.3.0/24")}) {
			t.Errorf("%s: %v %t, want %t", name, got, ok, c.want)
		}
	}
}

// Peers on the same link are reached there, others through the tunnel, and of two with one
// range the first by name has it.
func TestPlan(t *testing.T) {
	p := func(name, ip, pods string) peer {
		return peer{name, netip.MustParseAddr(ip), netip.MustParsePrefix(pods)}
	}
	near := func(ip netip.Addr) bool { return netip.MustParsePrefix("192.0.2.0/24").Contains(ip) }
	got := plan([]peer{p("c", "192.0.2.3", "10.42.2.0/24"), p("b", "198.51.100.2", "10.42.1.0/24"), p("a", "192.0.2.1", "10.42.0.0/24"), p("d", "192.0.2.4", "10.42.2.0/24")}, near)
	var text []string
	for _, r := range got {
		line := r.pods.String() + " via " + r.via.String()
		if r.tunnel {
			line += " in the tunnel to " + r.outer.String()
		}
		text = append(text, line)
	}
	want := []string{"10.42.0.0/24 via 192.0.2.1", "10.42.1.0/24 via 10.42.1.0 in the tunnel to 198.51.100.2", "10.42.2.0/24 via 192.0.2.3"}
	if d := cmp.Diff(want, text); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if a, b := mac(netip.MustParseAddr("192.0.2.1")), mac(netip.MustParseAddr("192.0.2.2")); a.String() == b.String() || a[0]&3 != 2 {
		t.Errorf("addresses in the tunnel: %s, %s; want two local ones", a, b)
	}
}
