package iptables

import (
	"cmp"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/yaml/load"
	"headway.dev/proxy/service"
)

var update = flag.Bool("update", false, "write the results as the new expectations")

var config = service.Config{
	NodeName:     "here",
	ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/112")},
	ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/64")},
}

// build returns the rules of one family, of a table that has seen nothing else.
func build(t *testing.T, family service.Family, services []*corev1.Service, slices []*discoveryv1.EndpointSlice) string {
	t.Helper()
	table, err := newTable(config, family, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	table.take(decide(services, slices))
	return print(table)
}

func decide(services []*corev1.Service, slices []*discoveryv1.EndpointSlice) service.Changes {
	out := service.Changes{Of: map[types.NamespacedName]*service.Decision{}, All: true}
	for _, svc := range services {
		var own []*discoveryv1.EndpointSlice
		for _, s := range slices {
			if s.Labels[discoveryv1.LabelServiceName] == svc.Name {
				own = append(own, s)
			}
		}
		d := service.Decide(config, "", svc, own)
		out.Of[d.Name] = d
	}
	return out
}

func parse(t *testing.T, data []byte) (services []*corev1.Service, slices []*discoveryv1.EndpointSlice) {
	t.Helper()
	items, err := load.Bytes("in", data)
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		switch o := it.Object.(type) {
		case *corev1.Service:
			services = append(services, o)
		case *discoveryv1.EndpointSlice:
			slices = append(slices, o)
		}
	}
	return services, slices
}

// Each testdata/*.txtar has objects ("in") and the chains they make ("want");
// chains without rules are left out.
func TestRender(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			services, endpointSlices := parse(t, archive.Files[0].Data)
			got := both(t, services, endpointSlices)
			for range 5 {
				rand.Shuffle(len(services), func(i, j int) { services[i], services[j] = services[j], services[i] })
				rand.Shuffle(len(endpointSlices), func(i, j int) {
					endpointSlices[i], endpointSlices[j] = endpointSlices[j], endpointSlices[i]
				})
				if d := gocmp.Diff(got, both(t, services, endpointSlices)); d != "" {
					t.Fatalf("the order of the objects changes the rules:\n%s", d)
				}
			}
			if *update {
				archive.Files[1].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := gocmp.Diff(string(archive.Files[1].Data), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func both(t *testing.T, services []*corev1.Service, slices []*discoveryv1.EndpointSlice) string {
	t.Helper()
	out := build(t, service.IPv4, services, slices)
	if v6 := build(t, service.IPv6, services, slices); strings.Contains(v6, "/128") {
		out += "IPv6\n" + v6
	}
	return out
}

func print(t *table) string {
	var b strings.Builder
	ids := slices.SortedFunc(maps.Keys(t.want), func(a, b chainID) int {
		return cmp.Or(strings.Compare(a.table, b.table), strings.Compare(a.name, b.name))
	})
	for _, id := range ids {
		if id.name == Mark || id.name == Forward || id.name == Firewall {
			continue
		}
		for _, rule := range t.want[id] {
			fmt.Fprintf(&b, "%s %s %s\n", id.table, id.name, rule)
		}
	}
	return b.String()
}

// A table that has seen other states has what a new one has.
func TestTableTakesChanges(t *testing.T) {
	used, err := newTable(config, service.IPv4, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	services := map[int]*corev1.Service{}
	endpointSlices := map[int]*discoveryv1.EndpointSlice{}
	for step := range 300 {
		i := rng.IntN(8)
		svc := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: fmt.Sprintf("10.96.0.%d", i), Ports: []corev1.ServicePort{{Port: int32(80 + rng.IntN(2))}}}}
		svc.Namespace, svc.Name = "d", fmt.Sprint(i)
		slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: new(int32(8080))}}}
		slice.Namespace, slice.Name, slice.Labels = "d", fmt.Sprint(i), map[string]string{discoveryv1.LabelServiceName: svc.Name}
		for e := range rng.IntN(3) {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.244.%d.%d", i, e)}, NodeName: &config.NodeName})
		}
		switch rng.IntN(4) {
		case 0:
			delete(services, i)
		case 1:
			delete(endpointSlices, i)
		case 2:
			services[i] = svc
		case 3:
			endpointSlices[i] = slice
		}
		all := slices.Collect(maps.Values(endpointSlices))
		changes := service.Changes{Of: map[types.NamespacedName]*service.Decision{{Namespace: "d", Name: fmt.Sprint(i)}: nil}}
		if services[i] != nil {
			changes = decide([]*corev1.Service{services[i]}, all)
			changes.All = false
		}
		used.take(changes)
		if d := gocmp.Diff(build(t, service.IPv4, slices.Collect(maps.Values(services)), all), print(used)); d != "" {
			t.Fatalf("step %d (-new +used):\n%s", step, d)
		}
	}
}
