package pki

import (
	"fmt"
	"os"
	"path/filepath"
)

// FrontProxyName is the common name by which the servers of aggregated APIs know the
// API server.
const FrontProxyName = "front-proxy-client"

// EnsureFrontProxy loads the authority of the front proxy from a directory of its
// own below dir, or makes it: who has a certificate of it is believed whom requests
// are from, so it signs no other.
func EnsureFrontProxy(dir string) (*Set, error) {
	dir = filepath.Join(dir, "front-proxy")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make certificate directory: %w", err)
	}
	s := &Set{}
	if err := s.ensureAuthority(dir, "front-proxy-ca"); err != nil {
		return nil, fmt.Errorf("certificate authority in %s: %w", dir, err)
	}
	return s, nil
}
