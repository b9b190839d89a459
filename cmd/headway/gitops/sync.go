package gitops

import (
	"context"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
	"headway.dev/syncer/wire"
)

// NewSync is `headway sync`.
func NewSync(opts *cli.Options) *cobra.Command {
	var source string
	var waiting waitOptions
	var format cli.Format
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Fetch and converge now",
		Long: `Sync fetches the source headway-system/cluster (or, if there is none, all sources)
now, applies what is new, and waits until it is healthy, printing each step and,
meanwhile, what it waits for. With -o json every step is one JSON object a line.
Ctrl-C ends only the wait: the cluster goes on by itself.

Exit code 0: all is applied and healthy. 1: something failed, or the wait ended.`,
		Example: "  headway sync\n  headway sync --source headway-system/cluster --timeout 10m\n  headway sync --no-wait",
		Args:    cli.Takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := waiting.check(); err != nil {
				return err
			}
			client, err := opts.Client()
			if err != nil {
				return err
			}
			if err := syncAndWait(cmd.Context(), client, wire.SyncRequest{Source: source}, waiting, format, opts.Out); err != nil || !waiting.no || format.JSON() {
				return err
			}
			_, err = fmt.Fprintln(opts.Out, "asked for; `headway status` says what becomes of it")
			return err
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "only this source, as NAMESPACE/NAME")
	waiting.register(cmd)
	format.Register(cmd)
	return cmd
}

// namingOf asks how many there are. Names are shown if nobody says.
func namingOf(ctx context.Context, c *cli.Client) report.Naming {
	var status wire.Status
	if err := c.Call(ctx, http.MethodGet, "/headway/v1/status", nil, &status); err != nil {
		return report.Naming{Sources: true, Kustomizations: true}
	}
	n := len(status.Kustomizations)
	for _, s := range status.Sources {
		n += len(s.Kustomizations)
	}
	return report.Naming{Sources: len(status.Sources) > 1, Kustomizations: n > 1}
}
