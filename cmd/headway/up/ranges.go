package up

import (
	"fmt"
	"net/netip"
	"strings"
)

// ranges reads --cluster-cidr and --service-cidr: both of IPv4, or both of IPv4 and IPv6.
func (cfg *Config) ranges() (err error) {
	if cfg.ClusterCIDR, cfg.ClusterCIDR6, err = parseRanges("cluster-cidr", cfg.Options.ClusterCIDR, "10.42.0.0/16"); err != nil {
		return err
	}
	if cfg.ServiceCIDR, cfg.ServiceCIDR6, err = parseRanges("service-cidr", cfg.Options.ServiceCIDR, "10.43.0.0/16"); err != nil {
		return err
	}
	switch pods, services := cfg.ClusterCIDR6, cfg.ServiceCIDR6; {
	case pods.IsValid() && !services.IsValid():
		return fmt.Errorf("--cluster-cidr %s has two families and --service-cidr %s one: give both two, such as --service-cidr %s,fd00:43::/108", cfg.Options.ClusterCIDR, cfg.Options.ServiceCIDR, cfg.ServiceCIDR)
	case services.IsValid() && !pods.IsValid():
		return fmt.Errorf("--service-cidr %s has two families and --cluster-cidr %s one: give both two, such as --cluster-cidr %s,fd00:42::/48", cfg.Options.ServiceCIDR, cfg.Options.ClusterCIDR, cfg.ClusterCIDR)
	case pods.IsValid() && (pods.Bits() > 64 || 64-pods.Bits() < 24-cfg.ClusterCIDR.Bits()):
		return fmt.Errorf("--cluster-cidr %s is too small: each node gets a /24 of IPv4 and a /64 of IPv6, and %s has more of those than %s; give a /%d or larger", cfg.Options.ClusterCIDR, cfg.ClusterCIDR, pods, 64-(24-cfg.ClusterCIDR.Bits()))
	case services.IsValid() && (services.Bits() < 108 || services.Bits() > 120):
		// Kubernetes' bound: an apiserver takes at most 20 bits of addresses.
		return fmt.Errorf("--service-cidr %s: the range of IPv6 has to have /108 to /120", services)
	case cfg.ClusterCIDR.Overlaps(cfg.ServiceCIDR), pods.IsValid() && pods.Overlaps(services):
		return fmt.Errorf("--cluster-cidr %s and --service-cidr %s overlap: pods and Services need ranges of their own", cfg.Options.ClusterCIDR, cfg.Options.ServiceCIDR)
	}
	return nil
}

// parseRanges reads one range, or one of each family.
func parseRanges(flag, value, example string) (four, six netip.Prefix, err error) {
	list := strings.Split(value, ",")
	if len(list) > 2 {
		return four, six, fmt.Errorf("--%s %q: give at most one range of each family", flag, value)
	}
	for i, text := range list {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		switch {
		case err != nil && i == 0:
			return four, six, fmt.Errorf("--%s %q is not an IPv4 range such as %s", flag, value, example)
		case err != nil || p.Addr().Is4In6():
			return four, six, fmt.Errorf("--%s %q: %q is not a range of addresses", flag, value, text)
		case i == 0 && !p.Addr().Is4():
			return four, six, fmt.Errorf("--%s %q: the first range has to be of IPv4, which is the primary family: nodes reach each other and the API by it", flag, value)
		case i == 0 && p.Bits() > 24:
			return four, six, fmt.Errorf("--%s %s is too small: give a /24 or larger", flag, p)
		case i == 0:
			four = p.Masked()
		case p.Addr().Is4():
			return four, six, fmt.Errorf("--%s %q: both ranges are of IPv4; give one of each family", flag, value)
		default:
			six = p.Masked()
		}
	}
	return four, six, nil
}
