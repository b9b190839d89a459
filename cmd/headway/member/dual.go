package member

import (
	"fmt"
	"net"
	"net/netip"

	"headway.dev/manifests/nodeconfig"
)

// second settles the machine's IPv6 address: without one that is given it is the first
// that others reach, on the link that has the IPv4 address. A machine may have none: the
// pods of others are reached through the tunnel then.
func (cfg *Config) second() error {
	if !cfg.ClusterCIDR6.IsValid() {
		if cfg.IP6.IsValid() {
			return fmt.Errorf("--node-ip %s,%s: this cluster has no IPv6: its --cluster-cidr and --service-cidr are of IPv4 alone", cfg.IP, cfg.IP6)
		}
		return nil
	}
	if cfg.IP6.IsValid() {
		return nil
	}
	links, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("find this machine's IPv6 address: %w; give --node-ip", err)
	}
	for _, link := range links {
		addrs, err := link.Addrs()
		if err != nil {
			continue // it has gone
		}
		var own bool
		var six netip.Addr
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			switch {
			case err != nil:
			case p.Addr() == cfg.IP:
				own = true
			case p.Addr().Is6() && p.Addr().IsGlobalUnicast() && !six.IsValid():
				six = p.Addr()
			}
		}
		if own {
			cfg.IP6 = six
		}
	}
	return nil
}

// ips are the machine's addresses, that of IPv4 first.
func (cfg *Config) ips() []netip.Addr {
	if cfg.IP6.IsValid() {
		return []netip.Addr{cfg.IP, cfg.IP6}
	}
	return []netip.Addr{cfg.IP}
}

// ranges are those of the cluster.
func (cfg *Config) ranges() nodeconfig.Config {
	return nodeconfig.Config{ClusterCIDR: cfg.ClusterCIDR, ServiceCIDR: cfg.ServiceCIDR, ClusterCIDR6: cfg.ClusterCIDR6, ServiceCIDR6: cfg.ServiceCIDR6}
}

// text is an address as a string, empty without.
func text(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

// podRanges reads node.spec.podCIDRs. A range of IPv6 is left out where the cluster has none.
func podRanges(cidrs []string, dual bool) (four, six netip.Prefix, err error) {
	for _, cidr := range cidrs {
		p, err := netip.ParsePrefix(cidr)
		switch {
		case err != nil:
			return four, six, fmt.Errorf("podCIDR %q: %w", cidr, err)
		case p.Addr().Is4():
			four = p
		case dual:
			six = p
		}
	}
	if !four.IsValid() {
		return four, six, fmt.Errorf("podCIDRs %v: none is of IPv4", cidrs)
	}
	return four, six, nil
}
