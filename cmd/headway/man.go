package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
)

// newMan is for those who package the program.
func newMan(opts *cli.Options) *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the manual pages of all commands",
		Long:    "Man writes a manual page for each command (headway.1, headway-plan.1, …) into a\ndirectory, which it creates if it does not exist.",
		Example: "  headway man /usr/local/share/man/man1",
		Hidden:  true,
		Args:    cli.Takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			header := &doc.GenManHeader{Title: "HEADWAY", Section: "1", Manual: "Headway", Source: "Headway " + cmp.Or(version, "dev")}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return err
			}
			pages, err := filepath.Glob(filepath.Join(args[0], "headway*.1"))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(opts.Out, "%s in %s\n", report.Count(len(pages), "page"), args[0])
			return err
		},
	}
}
