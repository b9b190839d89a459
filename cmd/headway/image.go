package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/datadir"
	"headway.dev/cmd/headway/report"
	"headway.dev/nodes/runtime/containerd"
)

func newImage(opts *cli.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Work with the node's image store",
		Args:  cli.CommandsOnly,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImageImport(opts))
	return cmd
}

type importedImage struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

func newImageImport(opts *cli.Options) *cobra.Command {
	var format cli.Format
	var address string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Load an OCI or Docker archive into the node's image store",
		Long: `Import loads the images of an OCI or Docker archive (docker save) into the store of
the containerd that a running cluster uses; - reads standard input. Pods with
imagePullPolicy IfNotPresent or Never then start without a registry.`,
		Example: "  headway image import web.tar\n  docker save web:v1 | headway image import -",
		Args:    cli.Takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if os.Geteuid() != 0 {
				return errors.New("image import needs root: the node's containerd answers nobody else; run it with sudo")
			}
			archive := opts.In
			if args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer file.Close()
				archive = file
			}
			dir, err := filepath.Abs(opts.DataDir)
			if err != nil {
				return fmt.Errorf("--data-dir: %w", err)
			}
			infos, err := containerd.ImportInto(cmd.Context(), containerd.Config{RunDir: datadir.RunDir(dir), ContainerdAddress: address}, archive)
			if err != nil {
				return err
			}
			images := make([]importedImage, len(infos))
			rows := make([][]string, len(infos))
			for i, info := range infos {
				images[i] = importedImage{info.Name, info.Digest, info.Size}
				rows[i] = []string{info.Name, info.Digest, fmt.Sprintf("%.1f MiB", float64(info.Size)/(1<<20))}
			}
			if format.JSON() {
				return report.PrintJSON(opts.Out, images)
			}
			return report.Table(opts.Out, []string{"IMAGE", "DIGEST", "SIZE"}, rows)
		},
	}
	cmd.Flags().StringVar(&address, "containerd-address", "", "socket of the containerd (default: that of the last headway up)")
	format.Register(cmd)
	return cmd
}
