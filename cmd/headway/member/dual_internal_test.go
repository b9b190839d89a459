package member

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"headway.dev/manifests/nodeconfig"
)

var bothFamilies = nodeconfig.Config{
	ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"),
	ClusterCIDR6: netip.MustParsePrefix("fd00:42::/48"), ServiceCIDR6: netip.MustParsePrefix("fd00:43::/108"),
}

// TestNodeIP: a machine has an IPv4 address first, and one of IPv6 in a cluster of both.
func TestNodeIP(t *testing.T) {
	four := nodeconfig.Config{ClusterCIDR: bothFamilies.ClusterCIDR, ServiceCIDR: bothFamilies.ServiceCIDR}
	for _, c := range []struct {
		flag    string
		cluster nodeconfig.Config
		want    string
	}{
		{"10.0.0.1", four, ""},
		{"10.0.0.1,fd00::1", bothFamilies, ""},
		{"10.0.0.1,fd00::1", four, "--node-ip 10.0.0.1,fd00::1: this cluster has no IPv6"},
		{"fd00::1", bothFamilies, `"fd00::1" is not an IPv4 address: that comes first`},
		{"fd00::1,10.0.0.1", bothFamilies, `"fd00::1" is not an IPv4 address: that comes first`},
		{"10.0.0.1,10.0.0.2", bothFamilies, `"10.0.0.2" is not an IPv6 address by which others reach this machine`},
		{"10.0.0.1,fe80::1", bothFamilies, `"fe80::1" is not an IPv6 address by which others reach this machine`},
		{"10.0.0.1,::ffff:10.0.0.2", bothFamilies, "is not an IPv6 address"},
	} {
		var options Options
		flags := pflag.NewFlagSet("agent", pflag.ContinueOnError)
		options.AddFlags(flags, 0)
		if err := flags.Parse([]string{"--node-name", "a", "--node-ip", c.flag}); err != nil {
			t.Fatal(err)
		}
		cfg, err := options.Config(t.TempDir())
		if err == nil {
			err = cfg.Join(c.cluster)
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.flag, err, c.want)
		}
		if first, second, _ := strings.Cut(c.flag, ","); err == nil && (cfg.IP.String() != first || text(cfg.IP6) != second) {
			t.Errorf("%s: addresses %s and %s", c.flag, cfg.IP, cfg.IP6)
		}
	}
}

// TestPodRanges: a node has a range of IPv4, and uses one of IPv6 only in a cluster of both.
func TestPodRanges(t *testing.T) {
	for _, c := range []struct {
		cidrs []string
		dual  bool
		want  string
	}{
		{[]string{"10.42.0.0/24"}, false, "10.42.0.0/24 "},
		{[]string{"10.42.0.0/24"}, true, "10.42.0.0/24 "},
		{[]string{"10.42.0.0/24", "fd00:42::/64"}, true, "10.42.0.0/24 fd00:42::/64"},
		{[]string{"10.42.0.0/24", "fd00:42::/64"}, false, "10.42.0.0/24 "},
		{[]string{"fd00:42::/64"}, true, "podCIDRs [fd00:42::/64]: none is of IPv4"},
		{[]string{"x"}, true, `podCIDR "x"`},
	} {
		four, six, err := podRanges(c.cidrs, c.dual)
		got := four.String() + " "
		if six.IsValid() {
			got += six.String()
		}
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%v: %s, want %s", c.cidrs, got, c.want)
		}
	}
}
