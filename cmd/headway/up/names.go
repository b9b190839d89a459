package up

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	corekinds "headway.dev/manifests/model/kinds/core"
	"headway.dev/syncer/git"
)

// checkNames checks what the flags of `headway up` name, and sets the defaults
// of what they do not.
func (cfg *Config) checkNames() error {
	if err := git.CheckBranch(cfg.Branch); err != nil {
		return fmt.Errorf("--branch: %w", err)
	}
	if cfg.ownExample = cfg.ImagesDir == "" && cfg.Repo == ""; cfg.ImagesDir == "" {
		cfg.ImagesDir = filepath.Join(cfg.DataDir, "images")
	} else if info, err := os.Stat(cfg.ImagesDir); err != nil {
		return fmt.Errorf("--images-dir: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("--images-dir: %s is not a directory", cfg.ImagesDir)
	}
	from, hint := "--node-name", ""
	if cfg.NodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("read the hostname: %w; give --node-name", err)
		}
		from, hint, cfg.NodeName = "the hostname", "; give --node-name", strings.ToLower(host)
	}
	// The name is also the value of the label kubernetes.io/hostname.
	faults := append(validation.IsDNS1123Subdomain(cfg.NodeName), validation.IsValidLabelValue(cfg.NodeName)...)
	if len(faults) > 0 {
		return fmt.Errorf("%s %q cannot name a node: %s%s", from, cfg.NodeName, faults[0], hint)
	}
	return nil
}

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
