// Command gen packs the definitions of the Gateway API that Headway brings: those of the
// standard channel, as its module has them.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(to string) error {
	dir, err := exec.CommandContext(context.Background(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	var all bytes.Buffer
	zip, err := gzip.NewWriterLevel(&all, gzip.BestCompression)
	if err != nil {
		return err
	}
	for _, name := range []string{"gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants"} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "config/crd/standard", "gateway.networking.k8s.io_"+name+".yaml"))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(zip, "---\n%s\n", text); err != nil {
			return err
		}
	}
	if err := zip.Close(); err != nil {
		return err
	}
	return os.WriteFile(to, all.Bytes(), 0o644) //nolint:gosec // a file of the sources
}
