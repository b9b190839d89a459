package main

import (
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/report"
	"headway.dev/syncer/wire"
)

func newStatus(opts *options) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what each source wants and what runs",
		Long: `Status shows each source with its commit, sync state and health, and says what is
not healthy, and why.

Exit code 0 whenever the cluster answers; scripts read -o json.`,
		Example: "  headway status\n  headway status -o json | jq '.sources[].kustomizations[].sync'",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := opts.client()
			if err != nil {
				return err
			}
			var status wire.Status
			if err := client.call(cmd.Context(), http.MethodGet, "/headway/v1/status", nil, &status); err != nil {
				return err
			}
			if format.json() {
				return report.PrintJSON(opts.out, status)
			}
			report.PrintStatus(opts.out, status, time.Now())
			return nil
		},
	}
	format.register(cmd)
	return cmd
}
