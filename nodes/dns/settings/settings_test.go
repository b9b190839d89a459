package settings_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headway.dev/nodes/dns/settings"
)

func TestParse(t *testing.T) {
	s, err := settings.Parse(map[string]string{
		"stubDomains":         `{"Corp.example": ["192.0.2.1", "192.0.2.2:5353"], "lab.example.": ["2001:db8::1"]}`,
		"upstreamNameservers": "- 192.0.2.3\n- '[2001:db8::2]:53'\n",
		"hosts":               "# ours\n192.0.2.10 Printer printer.office # on the left\n\n2001:db8::10\tprinter\n192.0.2.10 printer\n",
	}, "cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(s.Stubs, s.Upstream)
	if want := "map[corp.example.:[192.0.2.1:53 192.0.2.2:5353] lab.example.:[[2001:db8::1]:53]] [192.0.2.3:53 [2001:db8::2]:53]"; got != want {
		t.Errorf("servers: %s", got)
	}
	list, ok := s.Hosts.Addresses("printer.")
	if diff := cmp.Diff("[192.0.2.10 2001:db8::10] true", fmt.Sprint(list, ok)); diff != "" {
		t.Errorf("printer (-want +got):\n%s", diff)
	}
	if _, ok := s.Hosts.Addresses("office."); ok {
		t.Error("a name that is in no line")
	}
	if diff := cmp.Diff([]string{"printer.", "printer.office."}, s.Hosts.Names(netip.MustParseAddr("192.0.2.10"))); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	var none *settings.Hosts
	if _, ok := none.Addresses("printer."); ok || none.Names(netip.MustParseAddr("192.0.2.10")) != nil {
		t.Error("names without hosts")
	}
}

func TestErrors(t *testing.T) {
	for key, cases := range map[string]map[string]string{
		"stubDomains": {
			`[1]`:                          "",
			`{"corp.example": []}`:         "stubDomains: corp.example: has no name servers",
			`{"corp.example": ["x"]}`:      `stubDomains: corp.example: "x" is neither an address nor an address and a port, such as 192.0.2.1:53`,
			`{"a..b": ["192.0.2.1"]}`:      `stubDomains: "a..b" is not a name`,
			`{"": ["192.0.2.1"]}`:          `stubDomains: "" is not a name`,
			`{"a/b": ["192.0.2.1"]}`:       `stubDomains: "a/b" is not a name`,
			`{"a": ["192.0.2.1:0"]}`:       `stubDomains: a: "192.0.2.1:0" is no address of a name server`,
			`{"a": ["0.0.0.0"]}`:           `stubDomains: a: "0.0.0.0" is no address of a name server`,
			`{"A": ["::1"],"a":["::1"]}`:   "stubDomains: a: is there twice",
			`{"Cluster.local": ["::1"]}`:   `stubDomains: "Cluster.local" is of the cluster, whose names are those of its objects`,
			`{"x.cluster.local": ["::1"]}`: `stubDomains: "x.cluster.local" is of the cluster, whose names are those of its objects`,
		},
		"upstreamNameservers": {`"x"`: "", `["dns.example"]`: `upstreamNameservers: "dns.example" is neither an address nor an address and a port, such as 192.0.2.1:53`},
		"hosts": {
			"\nx a":                         `hosts: line 2: "x" is not an address`,
			"fe80::1%eth0 a":                `hosts: line 1: "fe80::1%eth0" is not an address`,
			"192.0.2.1":                     "hosts: line 1: 192.0.2.1 has no name",
			"192.0.2.1 a b*":                `hosts: line 1: "b*" is not a name`,
			"192.0.2.1 a.svc.cluster.local": `hosts: line 1: "a.svc.cluster.local" is of the cluster, whose names are those of its objects`,
		},
		"Corefile": {"": "Corefile: is none of stubDomains, upstreamNameservers, hosts"},
	} {
		for text, want := range cases {
			_, err := settings.Parse(map[string]string{key: text}, "cluster.local.")
			if err == nil || want != "" && err.Error() != want {
				t.Errorf("%s %q: %v, want %q", key, text, err, want)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"corp.example": ["192.0.2.1"]}`, `["::1"]`, "192.0.2.1 a b\n")
	f.Fuzz(func(t *testing.T, stubs, upstream, hosts string) {
		s, err := settings.Parse(map[string]string{"stubDomains": stubs, "upstreamNameservers": upstream, "hosts": hosts}, "cluster.local")
		if err == nil && s.Hosts == nil {
			t.Error("no hosts")
		}
	})
}
