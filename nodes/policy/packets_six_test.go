package policy_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/nodepolicy"
)

// TestPacketsOfIPv6: policies hold for IPv6 as for IPv4, and no pod sends by the address of
// another, or tells others of routers and neighbours.
func TestPacketsOfIPv6(t *testing.T) {
	n := startNodeOf(t, "6", "a", "b", "c")
	for _, pod := range []string{"a", "b", "c"} {
		n.serve(pod, 8080)
		n.serve(pod, 8081)
	}
	number := []nodepolicy.Port{{Protocol: "TCP", First: 8080, Last: 8080}}
	name := []nodepolicy.Port{{Protocol: "TCP", Name: "web"}}
	all := netip.MustParsePrefix("fd77::/64")
	just := netip.MustParsePrefix(n.ips["c"] + "/128")
	n.apply(nodepolicy.State{Pods: map[types.UID]*nodepolicy.Pod{"a": {}, "b": {}, "c": {}}})
	n.expect("no policy", map[string]bool{"a tcp b 8080": true, "b udp c 8081": true, "node tcp b 8080": true, "b tcp b 8080": true})
	for _, tc := range []struct {
		what   string
		egress bool
		rules  []nodepolicy.Rule
		want   map[string]bool
	}{
		{"nothing in", false, nil, map[string]bool{"a tcp b 8080": false, "c udp b 8080": false, "b tcp a 8080": true, "b tcp b 8080": true, "node tcp b 8080": true}},
		{"nothing out", true, nil, map[string]bool{"b tcp a 8080": false, "b udp c 8080": false, "a tcp b 8080": true}},
		{"from a group to a port", false, []nodepolicy.Rule{{Groups: []string{"ga"}, Ports: number}}, map[string]bool{"a tcp b 8080": true, "a tcp b 8081": false, "c tcp b 8080": false}},
		{"to a name", false, []nodepolicy.Rule{{Any: true, Ports: name}}, map[string]bool{"a tcp b 8080": true, "a tcp b 8081": false}},
		{"out to a group's name", true, []nodepolicy.Rule{{Groups: []string{"ga"}, Ports: name}}, map[string]bool{"b tcp a 8080": true, "b tcp a 8081": false, "b tcp c 8080": false}},
		{"a range but one", false, []nodepolicy.Rule{{Blocks: []nodepolicy.Block{{CIDR: all, Except: []netip.Prefix{just}}}}}, map[string]bool{"a tcp b 8080": true, "c tcp b 8080": false}},
		{"ranges of both families", false, []nodepolicy.Rule{{Blocks: []nodepolicy.Block{{CIDR: just}, {CIDR: netip.MustParsePrefix("0.0.0.0/0")}}}}, map[string]bool{"a tcp b 8080": false, "c tcp b 8080": true}},
		{"a range of the other family", false, []nodepolicy.Rule{{Blocks: []nodepolicy.Block{{CIDR: netip.MustParsePrefix("0.0.0.0/0")}}}}, map[string]bool{"a tcp b 8080": false}},
	} {
		n.apply(n.isolating(tc.egress, tc.rules...))
		n.expect(tc.what, tc.want)
	}
	fromNode := n.isolating(false)
	fromNode.Groups[nodepolicy.Nodes] = n.members("c")
	n.apply(fromNode)
	n.expect("address of a node", map[string]bool{"c tcp b 8080": true, "a tcp b 8080": false})

	// A connection ends with the next packet.
	n.apply(n.isolating(false, nodepolicy.Rule{Any: true}))
	c, err := n.dial("a", "tcp", n.ips["b"], 8080)
	if err != nil || !echoes(c) {
		t.Fatalf("connect: %v", err)
	}
	n.apply(n.isolating(false))
	if echoes(c) {
		t.Error("a connection goes on that is forbidden")
	}
	c.Close()
	translated6(t, n)
	spoofing6(t, n)
}

// translated6 has pods connect to an address that leads to one of them, as Services do,
// whether or not the kernel translates packets already on the bridge.
func translated6(t *testing.T, n *node) {
	t.Helper()
	n.ips["service"] = "fd88::1"
	on := func(args ...string) {
		t.Helper()
		command(t, append([]string{"nsenter", "--net=/run/netns/" + n.name}, args...)...)
	}
	on("ip6tables", "-w", "-t", "nat", "-A", "PREROUTING", "-d", "fd88::1", "-p", "tcp", "-j", "DNAT", "--to-destination", "["+n.ips["b"]+"]:8080")
	on("ip6tables", "-w", "-t", "nat", "-A", "POSTROUTING", "-s", n.ips["b"], "-d", n.ips["b"], "-j", "MASQUERADE")
	for _, early := range []string{"1", "0"} {
		on("sysctl", "-qw", "net.bridge.bridge-nf-call-ip6tables="+early)
		n.apply(nodepolicy.State{Pods: map[types.UID]*nodepolicy.Pod{"a": {}, "b": {}, "c": {}}})
		n.expect("translated on the bridge: "+early, map[string]bool{"a tcp service 80": true, "b tcp service 80": true, "c tcp b 8080": true})
		n.apply(n.isolating(false, nodepolicy.Rule{Groups: []string{"ga"}}))
		n.expect("isolated, translated on the bridge: "+early, map[string]bool{"a tcp service 80": true, "b tcp service 80": true, "c tcp service 80": false})
	}
}

// spoofing6 has pod c take the address of a, which alone may send to b.
func spoofing6(t *testing.T, n *node) {
	t.Helper()
	n.apply(n.isolating(false, nodepolicy.Rule{Groups: []string{"ga"}}))
	var u net.PacketConn
	if err := inside(t, n.ns("b"), func() (err error) {
		u, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp6", ":9091")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	// Past the node, to the link-layer address of another pod, nothing comes.
	n.apply(nodepolicy.State{Pods: map[types.UID]*nodepolicy.Pod{"a": {}, "b": {}, "c": {}}})
	n.expect("through the node", map[string]bool{"c tcp b 8080": true})
	var direct string
	if err := inside(t, n.ns("b"), func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err == nil {
			direct = eth0.HardwareAddr.String()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	command(t, "ip", "-n", n.ns("c"), "route", "add", n.ips["b"]+"/128", "dev", "eth0")
	command(t, "ip", "-n", n.ns("c"), "neigh", "replace", n.ips["b"], "lladdr", direct, "dev", "eth0", "nud", "permanent")
	n.expect("past the node", map[string]bool{"c tcp b 8080": false})
	command(t, "ip", "-n", n.ns("c"), "route", "del", n.ips["b"]+"/128", "dev", "eth0")
	command(t, "ip", "-n", n.ns("c"), "neigh", "del", n.ips["b"], "dev", "eth0")

	n.apply(n.isolating(false, nodepolicy.Rule{Groups: []string{"ga"}}))
	command(t, "nsenter", "--net=/run/netns/"+n.ns("c"), "ip", "addr", "add", n.ips["a"]+"/128", "dev", "eth0", "nodad")
	for pod, want := range map[string]bool{"a": true, "c": false} {
		err := inside(t, n.ns(pod), func() error {
			d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(n.ips["a"])}}
			c, err := d.DialContext(t.Context(), "udp6", net.JoinHostPort(n.ips["b"], "9091"))
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("x"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = u.SetReadDeadline(time.Now().Add(patience))
		if _, _, err := u.ReadFrom(make([]byte, 10)); (err == nil) != want {
			t.Errorf("pod %s sends by the address of a: %v, want %v", pod, err == nil, want)
		}
	}
}
