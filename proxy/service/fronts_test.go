package service_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/proxy/service"
)

func claimant(name string, age int, clusterIP string, nodePort uint16, external ...string) *service.Decision {
	p := service.Port{Family: service.IPv4, Protocol: "tcp", ClusterIP: netip.MustParseAddr(clusterIP), Number: 80, NodePort: nodePort}
	for _, ip := range external {
		p.ExternalIPs = append(p.ExternalIPs, netip.MustParseAddr(ip))
	}
	return &service.Decision{Name: types.NamespacedName{Name: name}, Created: time.Unix(int64(1000-age), 0), Ports: []service.Port{p}}
}

// has lists who has which address.
func has(settled map[types.NamespacedName]*service.Decision) map[string]string {
	out := map[string]string{}
	for name, d := range settled {
		if d == nil {
			continue
		}
		for _, p := range d.Ports {
			out[p.ClusterIP.String()] += name.Name
			for _, ip := range p.ExternalIPs {
				out[ip.String()] += name.Name
			}
			if p.NodePort != 0 {
				out[fmt.Sprint(p.NodePort)] += name.Name
			}
		}
	}
	return out
}

// Of two Services with one address one has it, and when it goes the other.
func TestFronts(t *testing.T) {
	f, now := service.NewFronts(), map[types.NamespacedName]*service.Decision{}
	settle := func(d *service.Decision, gone bool) (of []string) {
		t.Helper()
		changes := service.Changes{Of: map[types.NamespacedName]*service.Decision{d.Name: d}}
		if gone {
			changes.Of[d.Name] = nil
		}
		for name, d := range f.Settle(changes).Of {
			now[name] = d
			of = append(of, name.Name)
		}
		return slices.Sorted(slices.Values(of))
	}
	young, old := claimant("a", 1, "10.96.0.1", 30000, "198.51.100.1"), claimant("b", 2, "10.96.0.2", 30000, "198.51.100.1", "10.96.0.3")
	want := func(what string, of []string, wantOf []string, want map[string]string) {
		t.Helper()
		if d := cmp.Diff(wantOf, of); d != "" {
			t.Errorf("%s: whom it is about (-want +got):\n%s", what, d)
		}
		if d := cmp.Diff(want, has(now)); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	want("alone", settle(young, false), []string{"a"}, map[string]string{"10.96.0.1": "a", "198.51.100.1": "a", "30000": "a"})
	want("the older has it", settle(old, false), []string{"a", "b"},
		map[string]string{"10.96.0.1": "a", "10.96.0.2": "b", "10.96.0.3": "b", "198.51.100.1": "b", "30000": "b"})
	owner := claimant("c", 0, "10.96.0.3", 0)
	want("a cluster IP is its Service's", settle(owner, false), []string{"b", "c"},
		map[string]string{"10.96.0.1": "a", "10.96.0.2": "b", "10.96.0.3": "c", "198.51.100.1": "b", "30000": "b"})
	want("when it goes, the other", settle(old, true), []string{"a", "b", "c"},
		map[string]string{"10.96.0.1": "a", "10.96.0.3": "c", "198.51.100.1": "a", "30000": "a"})
	want("a change", settle(claimant("a", 1, "10.96.0.1", 30001), false), []string{"a"},
		map[string]string{"10.96.0.1": "a", "10.96.0.3": "c", "30001": "a"})
}

// Whatever came before, everybody has what they would have if all came at once.
func TestFrontsTakeChanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	used, settled, all := service.NewFronts(), map[types.NamespacedName]*service.Decision{}, map[types.NamespacedName]*service.Decision{}
	for step := range 500 {
		i := rng.IntN(6)
		d := claimant(fmt.Sprint(i), i%3, fmt.Sprintf("10.96.0.%d", i+1), uint16(30000+rng.IntN(3)), fmt.Sprintf("198.51.100.%d", rng.IntN(3)), fmt.Sprintf("10.96.0.%d", rng.IntN(8)+1))
		changes := service.Changes{Of: map[types.NamespacedName]*service.Decision{d.Name: d}}
		if all[d.Name] = d; rng.IntN(3) == 0 {
			delete(all, d.Name)
			changes.Of[d.Name] = nil
		}
		if rng.IntN(10) == 0 {
			changes = service.Changes{Of: maps.Clone(all), All: true}
		}
		changes = used.Settle(changes)
		if changes.All {
			clear(settled)
		}
		maps.Copy(settled, changes.Of)
		maps.DeleteFunc(settled, func(_ types.NamespacedName, d *service.Decision) bool { return d == nil })
		fresh := service.NewFronts().Settle(service.Changes{Of: all, All: true})
		if d := cmp.Diff(fresh.Of, settled, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Fatalf("step %d (-new +used):\n%s", step, d)
		}
	}
}
