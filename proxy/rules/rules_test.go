package rules_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"headway.dev/manifests/yaml/load"
	"headway.dev/proxy/rules"
)

var update = flag.Bool("update", false, "write the results as the new expectations")

var config = rules.Config{
	NodeName:    "here",
	ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"),
	ClusterCIDR: netip.MustParsePrefix("10.244.0.0/16"),
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
func TestBuild(t *testing.T) {
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
			services, slices := parse(t, archive.Files[0].Data)
			got := print(rules.Build(config, services, slices))
			for range 5 {
				rand.Shuffle(len(services), func(i, j int) { services[i], services[j] = services[j], services[i] })
				rand.Shuffle(len(slices), func(i, j int) { slices[i], slices[j] = slices[j], slices[i] })
				if d := cmp.Diff(got, print(rules.Build(config, services, slices))); d != "" {
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
			if d := cmp.Diff(string(archive.Files[1].Data), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func print(r rules.Ruleset) string {
	var b strings.Builder
	for _, c := range r.Chains {
		if c.Name == rules.Mark || c.Name == rules.Forward || c.Name == rules.Firewall {
			continue
		}
		for _, rule := range c.Rules {
			fmt.Fprintf(&b, "%s %s %s\n", c.Table, c.Name, rule)
		}
	}
	return b.String()
}

// A Compiler that has seen other states gives what a new one gives.
func TestCompiler(t *testing.T) {
	compiler := rules.NewCompiler(config)
	rng := rand.New(rand.NewPCG(1, 2))
	services := map[int]*corev1.Service{}
	slices := map[int]*discoveryv1.EndpointSlice{}
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
			delete(slices, i)
		case 2:
			services[i] = svc
		case 3:
			slices[i] = slice
		}
		s, e := values(services), values(slices)
		if d := cmp.Diff(print(rules.Build(config, s, e)), print(compiler.Compile(s, e))); d != "" {
			t.Fatalf("step %d (-new +used):\n%s", step, d)
		}
	}
}

func values[T any](m map[int]T) (out []T) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}
