// Package settings reads the ConfigMap of the cluster DNS (pure): which name servers to
// ask for which names, and names of hosts.
package settings

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// Where the ConfigMap is, and its keys. The first two are those of kube-dns.
const (
	Namespace = "kube-system"
	Name      = "headway-dns"

	// stubDomains maps domains to the name servers that know them:
	// {"corp.example": ["192.0.2.1", "192.0.2.2:5353"]}.
	stubDomains = "stubDomains"
	// upstreamNameservers are asked in place of the node's: ["192.0.2.1"].
	upstreamNameservers = "upstreamNameservers"
	// hosts has lines of hosts(5): an address and its names.
	hosts = "hosts"
)

// What a ConfigMap may have at most.
const (
	maxServers = 15 // of a domain
	maxDomains = 1000
	maxHosts   = 10000
)

// Settings are what a ConfigMap says.
type Settings struct {
	Stubs    map[string][]netip.AddrPort
	Upstream []netip.AddrPort
	Hosts    *Hosts // nil: none
}

// Parse reads the ConfigMap's data. zone is the cluster's domain, of which it may say
// nothing. The error names the key.
func Parse(data map[string]string, zone string) (Settings, error) {
	var s Settings
	for _, key := range slices.Sorted(maps.Keys(data)) {
		var err error
		switch text := data[key]; key {
		case stubDomains:
			s.Stubs, err = parseStubs(text, zone)
		case upstreamNameservers:
			var list []string
			if err = yaml.UnmarshalStrict([]byte(text), &list); err == nil {
				s.Upstream, err = parseServers(list)
			}
		case hosts:
			s.Hosts, err = parseHosts(text, zone)
		default:
			err = fmt.Errorf("is none of %s, %s, %s", stubDomains, upstreamNameservers, hosts)
		}
		if err != nil {
			return Settings{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	return s, nil
}

func parseStubs(text, zone string) (map[string][]netip.AddrPort, error) {
	var raw map[string][]string
	if err := yaml.UnmarshalStrict([]byte(text), &raw); err != nil {
		return nil, err
	}
	if len(raw) > maxDomains {
		return nil, fmt.Errorf("has %d domains, and may have %d", len(raw), maxDomains)
	}
	stubs := map[string][]netip.AddrPort{}
	for _, domain := range slices.Sorted(maps.Keys(raw)) {
		name, err := parseName(domain, zone)
		if err != nil {
			return nil, err
		}
		if len(raw[domain]) == 0 {
			return nil, fmt.Errorf("%s: has no name servers", domain)
		}
		if _, twice := stubs[name]; twice {
			return nil, fmt.Errorf("%s: is there twice", domain)
		}
		if stubs[name], err = parseServers(raw[domain]); err != nil {
			return nil, fmt.Errorf("%s: %w", domain, err)
		}
	}
	return stubs, nil
}

func parseServers(list []string) ([]netip.AddrPort, error) {
	if len(list) > maxServers {
		return nil, fmt.Errorf("has %d name servers, and may have %d", len(list), maxServers)
	}
	var out []netip.AddrPort
	for _, text := range list {
		server, err := netip.ParseAddrPort(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("%q is neither an address nor an address and a port, such as 192.0.2.1:53", text)
			}
			server = netip.AddrPortFrom(addr, 53)
		}
		if server.Port() == 0 || server.Addr().IsUnspecified() || server.Addr().IsMulticast() {
			return nil, fmt.Errorf("%q is no address of a name server", text)
		}
		out = append(out, server)
	}
	return out, nil
}

// parseName returns a name in lower case, with a dot at its end.
func parseName(text, zone string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	for label := range strings.SplitSeq(name, ".") {
		if len(name) > validation.DNS1123SubdomainMaxLength || len(label) == 0 || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", fmt.Errorf("%q is not a name", text)
		}
	}
	name += "."
	zone = strings.ToLower(strings.TrimSuffix(zone, ".")) + "."
	if name == zone || strings.HasSuffix(name, "."+zone) {
		return "", fmt.Errorf("%q is of the cluster, whose names are those of its objects", text)
	}
	return name, nil
}

// Hosts are the names and addresses of hosts.
type Hosts struct {
	names map[string][]netip.Addr
	addrs map[netip.Addr][]string
}

// Addresses returns those of a name in lower case, with a dot at its end. It returns
// false if there is no such name.
func (h *Hosts) Addresses(name string) ([]netip.Addr, bool) {
	if h == nil {
		return nil, false
	}
	list, ok := h.names[name]
	return list, ok
}

// Names returns those of an address.
func (h *Hosts) Names(addr netip.Addr) []string {
	if h == nil {
		return nil
	}
	return h.addrs[addr]
}

func parseHosts(text, zone string) (*Hosts, error) {
	h := &Hosts{names: map[string][]netip.Addr{}, addrs: map[netip.Addr][]string{}}
	n := 0
	for line := range bytes.Lines([]byte(text)) {
		n++
		before, _, _ := strings.Cut(string(line), "#")
		fields := strings.Fields(before)
		if len(fields) == 0 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil || addr.Zone() != "" {
			return nil, fmt.Errorf("line %d: %q is not an address", n, fields[0])
		}
		addr = addr.Unmap()
		if len(fields) == 1 {
			return nil, fmt.Errorf("line %d: %s has no name", n, addr)
		}
		for _, field := range fields[1:] {
			name, err := parseName(field, zone)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			if !slices.Contains(h.names[name], addr) {
				h.names[name] = append(h.names[name], addr)
				h.addrs[addr] = append(h.addrs[addr], name)
			}
		}
		if len(h.names) > maxHosts {
			return nil, fmt.Errorf("line %d: there are more than %d names", n, maxHosts)
		}
	}
	return h, nil
}
