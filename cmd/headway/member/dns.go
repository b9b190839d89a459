package member

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"

	"headway.dev/manifests/nodeconfig"
	"headway.dev/nodes/dns"
	"headway.dev/nodes/dns/resolv"
)

const (
	// nameServerLink has the address of the name server.
	nameServerLink = "headway-dns"
	// balancersLink has the addresses of load balancers that this node answers for.
	balancersLink = "headway-lb"
)

// names checks the flags about names.
func (o *Options) names(cfg *Config) error {
	cfg.ResolvConf = o.ResolvConf
	if o.ResolvConf == "" {
		cfg.ResolvConf = resolv.Own
	} else if path, err := filepath.Abs(o.ResolvConf); err != nil {
		return fmt.Errorf("--resolv-conf: %w", err)
	} else if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("--resolv-conf: %w", err)
	} else {
		cfg.ResolvConf = path
	}
	if o.DNSAddress == "" || o.DNSAddress == "none" {
		return nil
	}
	addr, err := netip.ParseAddr(o.DNSAddress)
	if err != nil || !addr.Is4() || addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() {
		return fmt.Errorf("--dns-address %q is not an IPv4 address that pods can reach, such as 169.254.53.53", o.DNSAddress)
	}
	cfg.NameServer = addr
	return nil
}

// CheckDomain checks the domain of the cluster's names.
func CheckDomain(domain string) error {
	if len(validation.IsDNS1123Subdomain(domain)) > 0 {
		return fmt.Errorf("--cluster-domain %q is not a domain such as cluster.local", domain)
	}
	return nil
}

// Join completes the configuration by what the cluster says.
func (cfg *Config) Join(cluster nodeconfig.Config) error {
	cfg.ClusterCIDR, cfg.ServiceCIDR, cfg.ClusterDomain = cluster.ClusterCIDR, cluster.ServiceCIDR, cluster.ClusterDomain
	cfg.ClusterCIDR6, cfg.ServiceCIDR6 = cluster.ClusterCIDR6, cluster.ServiceCIDR6
	if err := cfg.second(); err != nil {
		return err
	}
	cfg.example = cluster.Example && !cfg.ownImages
	for what, taken := range map[string]netip.Prefix{"pods": cfg.ClusterCIDR, "Services": cfg.ServiceCIDR} {
		if taken.Contains(cfg.NameServer) {
			return fmt.Errorf("--dns-address %s is in %s, the range of the %s: choose one that nothing else has", cfg.NameServer, taken, what)
		}
	}
	return nil
}

// nameServer configures the node's name server; nil without one.
func (m *Member) nameServer() *dns.Config {
	if !m.NameServer.IsValid() {
		return nil
	}
	return &dns.Config{
		Address: netip.AddrPortFrom(m.NameServer, 53), Hold: m.network.HoldNameServer, Kept: filepath.Join(m.DataDir, "network", "dns-settings.json"),
		// Neighbours of the node could send packets to the address, too.
		Clients: []netip.Prefix{m.ClusterCIDR, netip.PrefixFrom(m.IP, m.IP.BitLen()), netip.PrefixFrom(m.NameServer, 32), netip.MustParsePrefix("127.0.0.0/8")},
		Domain:  m.ClusterDomain, Ranges: slices.Concat(m.ranges().Pods(), m.ranges().Services()),
	}
}
