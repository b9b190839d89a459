package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"headway.dev/syncer/git"
)

// checkNames checks what the flags of `headway up` name, and sets the defaults
// of what they do not.
func (cfg *upConfig) checkNames() error {
	if err := git.CheckBranch(cfg.branch); err != nil {
		return fmt.Errorf("--branch: %w", err)
	}
	if cfg.ownExample = cfg.imagesDir == "" && cfg.repo == ""; cfg.imagesDir == "" {
		cfg.imagesDir = filepath.Join(cfg.dataDir, "images")
	} else if info, err := os.Stat(cfg.imagesDir); err != nil {
		return fmt.Errorf("--images-dir: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("--images-dir: %s is not a directory", cfg.imagesDir)
	}
	from, hint := "--node-name", ""
	if cfg.nodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("read the hostname: %w; give --node-name", err)
		}
		from, hint, cfg.nodeName = "the hostname", "; give --node-name", strings.ToLower(host)
	}
	// The name is also the value of the label kubernetes.io/hostname.
	faults := append(validation.IsDNS1123Subdomain(cfg.nodeName), validation.IsValidLabelValue(cfg.nodeName)...)
	if len(faults) > 0 {
		return fmt.Errorf("%s %q cannot name a node: %s%s", from, cfg.nodeName, faults[0], hint)
	}
	return nil
}
