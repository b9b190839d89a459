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

	"headway.dev/manifests/load"
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
