package nodeconfig_test

import (
	"net/netip"
	"strings"
	"testing"

	"headway.dev/manifests/nodeconfig"
)

func TestSkew(t *testing.T) {
	for _, tc := range []struct{ server, agent, want string }{
		{"v0.5.0", "v0.5.3", ""},
		{"v0.5.0", "v0.4.9", ""},
		{"v0.5.0", "v0.6.0", ""},
		{"v0.5.0-12-gabcdef0", "v0.6.0-1-g0123456", ""},
		{"v0.5.0", "v0.3.9", "the server is of version v0.5.0 and this agent of v0.3.9: they may differ by one minor version, and 0.3.9 is too old: upgrade this agent first"},
		{"v0.5.0", "v0.7.0", "and 0.5.0 is too old: upgrade the server first, or run an older agent here"},
		{"v1.0.0", "v0.9.0", "and 0.9.0 is too old: upgrade this agent first"},
		{"v1.0.0", "v2.0.0", "and 1.0.0 is too old: upgrade the server first, or run an older agent here"},
		{"", "v0.3.0", ""},
		{"dev", "v0.3.0", ""},
		{"v0.3.0", "dev", ""},
		{"v0.3.0", "a3fcdea9", ""},
	} {
		err := nodeconfig.Skew(tc.server, tc.agent)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("server %s, agent %s: %v, want %q", tc.server, tc.agent, err, tc.want)
		}
	}
}

// What one version tells the other reads: a server of before it told its version, and one
// of later, which tells more.
func TestParseOtherVersions(t *testing.T) {
	now := nodeconfig.Config{ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"), ClusterDomain: "cluster.local", Version: "v0.5.0"}
	later := now.Data()
	later["somethingNew"] = "true"
	if got, err := nodeconfig.Parse(later); err != nil || got != now {
		t.Errorf("%+v, %v; want %+v", got, err, now)
	}
	before := now
	before.Version = ""
	if data := before.Data(); len(data) != 4 {
		t.Errorf("a program that knows no version tells %v", data)
	}
	if got, err := nodeconfig.Parse(before.Data()); err != nil || got != before {
		t.Errorf("%+v, %v; want %+v", got, err, before)
	}
}
