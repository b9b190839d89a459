package up

import (
	"strings"
	"testing"
)

// TestRanges: ranges of one family, or of both with IPv4 first; everything else is refused
// with the reason.
func TestRanges(t *testing.T) {
	const pods, services = "10.42.0.0/16", "10.43.0.0/16"
	for name, c := range map[string]struct{ pods, services, want string }{
		"one family":           {pods, services, ""},
		"both":                 {pods + ",fd00:42::/48", services + ",fd00:43::/108", ""},
		"as many as of IPv4":   {pods + ",fd00:42::/56", services + ",fd00:43::/112", ""},
		"IPv6 alone":           {"fd00:42::/48", "fd00:43::/108", "the first range has to be of IPv4"},
		"IPv6 first":           {"fd00:42::/48," + pods, services, "the first range has to be of IPv4"},
		"twice the same":       {pods + ",10.44.0.0/16", services, "both ranges are of IPv4"},
		"three":                {pods + ",fd00:42::/48,fd00:44::/48", services, "at most one range of each family"},
		"no range":             {"10.42.0.0", services, `--cluster-cidr "10.42.0.0" is not an IPv4 range such as 10.42.0.0/16`},
		"no second range":      {pods + ",fd00::1", services, `"fd00::1" is not a range of addresses`},
		"IPv4 in IPv6":         {pods + ",::ffff:10.0.0.0/108", services, "is not a range of addresses"},
		"pods alone":           {pods + ",fd00:42::/48", services, "--service-cidr 10.43.0.0/16,fd00:43::/108"},
		"Services alone":       {pods, services + ",fd00:43::/108", "--cluster-cidr 10.42.0.0/16,fd00:42::/48"},
		"too few":              {pods + ",fd00:42::/60", services + ",fd00:43::/108", "give a /56 or larger"},
		"a node's":             {pods + ",fd00:42::/65", services + ",fd00:43::/108", "is too small"},
		"too small":            {"10.42.0.0/25", services, "is too small"},
		"too many Services":    {pods + ",fd00:42::/48", services + ",fd00:43::/64", "has to have /108 to /120"},
		"overlap":              {pods, "10.42.128.0/17", "overlap"},
		"overlap of IPv6":      {pods + ",fd00:42::/48", services + ",fd00:42::/108", "overlap"},
		"the same of Services": {pods, "fd00::/108", "the first range has to be of IPv4"},
	} {
		cfg := &Config{Options: Options{ClusterCIDR: c.pods, ServiceCIDR: c.services}}
		err := cfg.ranges()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err == nil && cfg.ClusterCIDR6.IsValid() != strings.Contains(c.pods, ",") {
			t.Errorf("%s: second range of pods is %s", name, cfg.ClusterCIDR6)
		}
	}
}
