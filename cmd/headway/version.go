package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	kube "k8s.io/component-base/version"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
)

// Set at build time.
var (
	version = "dev"
	commit  = "unknown"
)

type versionInfo struct {
	Version    string `json:"version"`
	Commit     string `json:"commit"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
	Kubernetes string `json:"kubernetes"`
}

func newVersion(opts *cli.Options) *cobra.Command {
	var format cli.Format
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  headway version\n  headway version -o json",
		Args:    cli.Takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			info := versionInfo{
				Version: version, Commit: commit, Go: runtime.Version(),
				Platform:   runtime.GOOS + "/" + runtime.GOARCH,
				Kubernetes: kube.Get().GitVersion,
			}
			if format.JSON() {
				return report.PrintJSON(opts.Out, info)
			}
			_, err := fmt.Fprintf(opts.Out, "headway %s (commit %s, %s, %s, Kubernetes API %s)\n",
				info.Version, info.Commit, info.Go, info.Platform, info.Kubernetes)
			return err
		},
	}
	format.Register(cmd)
	return cmd
}
