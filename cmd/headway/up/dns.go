package up

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"headway.dev/nodes/dns"
)

const (
	// nameServerLink has the address of the name server.
	nameServerLink = "headway-dns"
	etcResolvConf  = "/etc/resolv.conf"
	// What systemd-resolved writes: etcResolvConf names stubAddress then, which pods
	// cannot reach, and resolvedConf the servers behind it.
	stubAddress  = "127.0.0.53"
	resolvedConf = "/run/systemd/resolve/resolv.conf"
)

// parseDNS checks the flags about names.
func (cfg *Config) parseDNS() error {
	if domain := cfg.ClusterDomain; len(validation.IsDNS1123Subdomain(domain)) > 0 {
		return fmt.Errorf("--cluster-domain %q is not a domain such as cluster.local", domain)
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = nodeResolvConf()
	} else if path, err := filepath.Abs(cfg.ResolvConf); err != nil {
		return fmt.Errorf("--resolv-conf: %w", err)
	} else if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("--resolv-conf: %w", err)
	} else {
		cfg.ResolvConf = path
	}
	if cfg.DNSAddress == "" || cfg.DNSAddress == "none" {
		return nil
	}
	addr, err := netip.ParseAddr(cfg.DNSAddress)
	if err != nil || !addr.Is4() || addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() {
		return fmt.Errorf("--dns-address %q is not an IPv4 address that pods can reach, such as 169.254.53.53", cfg.DNSAddress)
	}
	for flag, taken := range map[string]netip.Prefix{"cluster-cidr": cfg.ClusterCIDR, "service-cidr": cfg.ServiceCIDR} {
		if taken.Contains(addr) {
			return fmt.Errorf("--dns-address %s is in --%s %s: choose one that nothing else has", addr, flag, taken)
		}
	}
	cfg.NameServer = addr
	return nil
}

// nodeResolvConf is the file that names the name servers of this machine.
func nodeResolvConf() string {
	data, err := os.ReadFile(etcResolvConf)
	if err != nil {
		return etcResolvConf
	}
	var servers []string
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "nameserver" {
			servers = append(servers, fields[1])
		}
	}
	if len(servers) == 0 || slices.ContainsFunc(servers, func(s string) bool { return s != stubAddress }) {
		return etcResolvConf
	}
	if _, err := os.Stat(resolvedConf); err != nil {
		return etcResolvConf
	}
	return resolvedConf
}

// nameServer configures the node's name server; nil without one.
func (c *Cluster) nameServer() *dns.Config {
	if !c.cfg.NameServer.IsValid() {
		return nil
	}
	return &dns.Config{
		Address: netip.AddrPortFrom(c.cfg.NameServer, 53), Hold: c.network.HoldNameServer,
		// Neighbours of the node could send packets to the address, too.
		Clients: []netip.Prefix{c.cfg.ClusterCIDR, netip.PrefixFrom(c.cfg.NodeIP, c.cfg.NodeIP.BitLen()), netip.PrefixFrom(c.cfg.NameServer, 32), netip.MustParsePrefix("127.0.0.0/8")},
		Domain:  c.cfg.ClusterDomain, Ranges: []netip.Prefix{c.cfg.ClusterCIDR, c.cfg.ServiceCIDR},
	}
}
