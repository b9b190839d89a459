package up

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	corekinds "headway.dev/manifests/model/kinds/core"
)

// servingNames are what the API's certificate is for besides what every cluster
// has: the host of --listen, and what --tls-san asks for.
func servingNames(listen string, sans []string) ([]string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("--listen %q is not HOST:PORT: %w", listen, err)
	}
	// A Service may have any of these on all addresses of the machine, and who
	// may make one would get the API's connections.
	if n, err := strconv.Atoi(port); err == nil && n >= corekinds.MinNodePort && n <= corekinds.MaxNodePort {
		return nil, fmt.Errorf("--listen %s: the ports %d to %d are the Services' node ports, and one of them could take the API's connections: choose another port",
			listen, corekinds.MinNodePort, corekinds.MaxNodePort)
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
