package kernel

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/proxy/service"
)

// Of flows from before a Service's rules those are forgotten that may hang, and not the
// connections to programs of the node itself.
func TestEarlyFlows(t *testing.T) {
	own, vip := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("192.0.2.240")
	f := NewFlows(slog.New(slog.DiscardHandler), []netip.Addr{own})
	name := types.NamespacedName{Namespace: "d", Name: "web"}
	f.Note(service.Changes{Of: map[types.NamespacedName]*service.Decision{name: {Name: name, Ports: []service.Port{{
		Family: service.IPv4, Protocol: "tcp", Number: 22, ClusterIP: netip.MustParseAddr("10.96.0.9"), LoadBalancerIPs: []netip.Addr{own, vip},
	}}}}})
	stale := f.stale[service.IPv4]
	if stale == nil {
		t.Fatal("no flow is in question")
	}
	for ip, want := range map[netip.Addr]bool{own: false, vip: true} {
		flow := &netlink.ConntrackFlow{
			Forward: netlink.IPTuple{Protocol: unix.IPPROTO_TCP, DstIP: ip.AsSlice(), DstPort: 22, SrcPort: 40000},
			Reverse: netlink.IPTuple{Protocol: unix.IPPROTO_TCP, SrcIP: ip.AsSlice(), SrcPort: 22, DstPort: 40000},
		}
		if got := stale.MatchConntrackFlow(flow); got != want {
			t.Errorf("a flow to %s is forgotten: %t, want %t", ip, got, want)
		}
	}
}
