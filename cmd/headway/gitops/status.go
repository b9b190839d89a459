package gitops

import (
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
	"headway.dev/syncer/wire"
)

// NewStatus is `headway status`.
func NewStatus(opts *cli.Options) *cobra.Command {
	var format cli.Format
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what each source declares and what is running",
		Long: `Status shows each source with its commit, sync state and health, and what is not
healthy, and why.

Exit code 0 whenever the cluster answers; scripts read -o json.`,
		Example: "  headway status\n  headway status -o json | jq '.sources[].kustomizations[].sync'",
		Args:    cli.Takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := opts.Client()
			if err != nil {
				return err
			}
			var status wire.Status
			if err := client.Call(cmd.Context(), http.MethodGet, "/headway/v1/status", nil, &status); err != nil {
				return err
			}
			if format.JSON() {
				return report.PrintJSON(opts.Out, status)
			}
			report.PrintStatus(opts.Out, status, time.Now())
			return nil
		},
	}
	format.Register(cmd)
	return cmd
}
