package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// servingNames are what the API's certificate is for besides what every cluster
// has: the host of --listen, and what --tls-san asks for.
func servingNames(listen string, sans []string) ([]string, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("--listen %q is not HOST:PORT: %w", listen, err)
	}
	var names []string
	if host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			names = append(names, host)
		}
	}
	for _, san := range sans {
		_, err := netip.ParseAddr(san)
		name := strings.TrimPrefix(san, "*.")
		if problems := validation.IsDNS1123Subdomain(name); err != nil && len(problems) > 0 {
			return nil, fmt.Errorf("--tls-san %q is neither an address nor a host name: %s", san, strings.Join(problems, "; "))
		}
		names = append(names, san)
	}
	return names, nil
}
