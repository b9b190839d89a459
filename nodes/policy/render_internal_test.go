package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"headway.dev/manifests/nodepolicy"
)

func TestRender(t *testing.T) {
	tcp := func(first, last uint16) nodepolicy.Port {
		return nodepolicy.Port{Protocol: "TCP", First: first, Last: last}
	}
	block := func(cidr string, except ...string) nodepolicy.Block {
		b := nodepolicy.Block{CIDR: netip.MustParsePrefix(cidr)}
		for _, e := range except {
			b.Except = append(b.Except, netip.MustParsePrefix(e))
		}
		return b
	}
	for _, tc := range []struct {
		what   string
		egress bool
		rules  []nodepolicy.Rule
		want   []string
	}{
		{"nothing", false, nil, []string{"drop"}},
		{"all", false, []nodepolicy.Rule{{Any: true}}, []string{"return", "drop"}},
		{
			"numbers are one set", false,
			[]nodepolicy.Rule{{Groups: []string{"g1", "g2"}, Ports: []nodepolicy.Port{tcp(443, 443), tcp(80, 80), {Protocol: "UDP", First: 53, Last: 53}, tcp(8000, 8100), tcp(8050, 8200), tcp(8201, 8201), tcp(80, 80)}}},
			[]string{
				"ct original ip saddr @g1 meta l4proto tcp ct reply proto-src { 80, 443, 8000-8201 } return",
				"ct original ip saddr @g1 meta l4proto udp ct reply proto-src 53 return",
				"ct original ip saddr @g2 meta l4proto tcp ct reply proto-src { 80, 443, 8000-8201 } return",
				"ct original ip saddr @g2 meta l4proto udp ct reply proto-src 53 return",
				"drop",
			},
		},
		{
			"all of a protocol covers its numbers", true,
			[]nodepolicy.Rule{{Groups: []string{"g1"}, Ports: []nodepolicy.Port{tcp(80, 80), {Protocol: "TCP"}, tcp(65535, 65535)}}},
			[]string{"ct reply ip saddr @g1 meta l4proto tcp return", "drop"},
		},
		{
			"names", true,
			[]nodepolicy.Rule{{Groups: []string{"g1"}, Ports: []nodepolicy.Port{{Protocol: "TCP", Name: "web"}, tcp(80, 80)}}},
			[]string{
				"ct reply ip saddr @g1 meta l4proto tcp ct reply ip saddr . ct reply proto-src @" + named("g1", "web", "TCP") + " return",
				"ct reply ip saddr @g1 meta l4proto tcp ct reply proto-src 80 return",
				"drop",
			},
		},
		{
			"ranges of addresses", false,
			[]nodepolicy.Rule{{Blocks: []nodepolicy.Block{block("10.1.0.0/16"), block("10.0.0.0/8"), block("10.0.0.0/9", "10.0.0.1/32", "10.0.0.0/24"), block("2001:db8::/32"), block("192.0.2.7/32")}}},
			[]string{
				"ct original ip saddr 10.0.0.0/9 ct original ip saddr != { 10.0.0.0/24 } return",
				"ct original ip saddr { 10.0.0.0/8, 192.0.2.7/32 } return",
				"drop",
			},
		},
		{"the same twice", false, []nodepolicy.Rule{{Groups: []string{"g1"}}, {Groups: []string{"g1", "g1"}}}, []string{"ct original ip saddr @g1 return", "drop"}},
	} {
		got, ok := render(&nodepolicy.Profile{Egress: tc.egress, Rules: tc.rules}, []family{four})
		if !ok || !slices.Equal(got.rules, tc.want) {
			t.Errorf("%s: %v\n got %q\nwant %q", tc.what, ok, got.rules, tc.want)
		}
	}
}

// many is a profile of peers × ports that cannot be merged.
func many(peers, ports int) *nodepolicy.Profile {
	var r nodepolicy.Rule
	for i := range peers {
		r.Groups = append(r.Groups, fmt.Sprint("g", i))
	}
	for i := range ports {
		r.Ports = append(r.Ports, nodepolicy.Port{Protocol: "TCP", First: uint16(2*i + 1), Last: uint16(2*i + 1)})
	}
	return &nodepolicy.Profile{Rules: []nodepolicy.Rule{r}}
}

// What a policy of some kilobytes multiplies to is bounded, of one profile and of all.
func TestLargePolicies(t *testing.T) {
	if out, ok := render(many(90, 100), []family{four}); !ok || len(out.rules) != 91 || out.size != 90*101+1 {
		t.Errorf("90 peers with 100 ports: %v, %d rules, size %d", ok, len(out.rules), out.size)
	}
	if out, ok := render(many(1000, 1000), []family{four}); ok || out.rules != nil {
		t.Errorf("1000 peers with 1000 ports are %d rules", len(out.rules))
	}
	r, err := NewRules(false)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*nodepolicy.Profile{"large": many(1000, 1000)}
	for i := range 12 {
		all[fmt.Sprint("p", i)] = many(90, 100)
	}
	r.Take(&nodepolicy.Change{Reset: true, State: nodepolicy.State{Profiles: all}})
	full := func() (n int) {
		for id, why := range r.Shut() {
			if !slices.Equal(r.rules(id), drop) {
				t.Errorf("%s is shut, and has the rules %q", id, r.rules(id))
			}
			if errors.Is(why, errFull) {
				n++
			}
		}
		return n
	}
	if shut := r.Shut(); !errors.Is(shut["large"], errLarge) || full() != 2 || r.total > mostOfAll {
		t.Errorf("shut are %v, of all are %d written", shut, r.total)
	}
	var open string
	for id := range r.sizes {
		open = id
	}
	r.Take(&nodepolicy.Change{State: nodepolicy.State{Profiles: map[string]*nodepolicy.Profile{open: nil, "large": {}}}})
	if shut := r.Shut(); shut["large"] != nil || full() != 1 {
		t.Errorf("after some went, shut are %v", shut)
	}
	r.Take(&nodepolicy.Change{Reset: true, State: nodepolicy.State{}})
	if r.total != 0 || len(r.Shut()) != 0 || len(r.sizes) != 0 {
		t.Errorf("after all went, there are %d", r.total)
	}
}
