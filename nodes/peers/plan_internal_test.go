package peers

import (
	"errors"
	"net/netip"
	"testing"
	"time"

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
		got, ok := read(n, cluster, netip.Prefix{})
		if ok != c.want || ok && got != (peer{name: "node-3", ip: netip.MustParseAddr("192.0.2.3"), pods: netip.MustParsePrefix("10.42.3.0/24")}) {
			t.Errorf("%s: %v %t, want %t", name, got, ok, c.want)
		}
	}
}

// Peers on the same link are reached there, others through the tunnel; of those with one
// range the oldest has it, and nobody has that of the node itself.
func TestPlan(t *testing.T) {
	p := func(name, ip, pods string, since int64) peer {
		return peer{name: name, ip: netip.MustParseAddr(ip), pods: netip.MustParsePrefix(pods), since: time.Unix(since, 0)}
	}
	link := netip.MustParsePrefix("192.0.2.0/24")
	near := func(ip netip.Addr) (bool, error) { return link.Contains(ip), nil }
	own := netip.MustParsePrefix("10.42.9.0/24")
	got, err := plan([]peer{
		p("d", "192.0.2.4", "10.42.2.0/24", 4), p("c", "192.0.2.3", "10.42.2.0/24", 1), p("b", "198.51.100.2", "10.42.1.0/24", 2), p("a", "192.0.2.1", "10.42.0.0/24", 3),
		p("all", "192.0.2.6", "10.42.0.0/16", 5), p("thief", "192.0.2.5", "10.42.9.0/24", 0), p("part", "192.0.2.7", "10.42.1.128/25", 9),
	}, own, netip.Prefix{}, near)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plan([]peer{p("a", "192.0.2.1", "10.42.0.0/24", 0)}, own, netip.Prefix{}, func(netip.Addr) (bool, error) { return false, errors.New("no route") }); err == nil {
		t.Error("a peer to which there is no way is far")
	}
	var text []string
	for _, r := range got {
		line := r.pods.String() + " via " + r.via.String()
		if r.tunnel {
			line += " in the tunnel to " + r.outer.String()
		}
		text = append(text, line)
	}
	want := []string{"10.42.2.0/24 via 192.0.2.3", "10.42.1.0/24 via 10.42.1.0 in the tunnel to 198.51.100.2", "10.42.0.0/24 via 192.0.2.1"}
	if d := cmp.Diff(want, text); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if a, b := mac(netip.MustParseAddr("192.0.2.1")), mac(netip.MustParseAddr("192.0.2.2")); a.String() == b.String() || a[0]&3 != 2 {
		t.Errorf("addresses in the tunnel: %s, %s; want two local ones", a, b)
	}
}
