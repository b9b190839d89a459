package cluster

import (
	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/up"
)

// NewServer makes the command server.
func NewServer(opts *cli.Options) *cobra.Command {
	var flags up.Options
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a cluster's server without a node, in the foreground",
		Long: `Server runs the API, the controllers, the scheduler and the syncer of a cluster, and
no pods: other machines join it with ` + "`headway agent`" + `, by the command that
` + "`headway token create`" + ` prints. ` + "`headway up`" + ` runs the same server with a node beside it,
and machines join that, too, if it listens on an address that they reach (--listen).

Ctrl-C stops it. The nodes keep their pods running, and served.`,
		Example: `  headway server --repo https://git.example.com/team/deploy
  headway server --listen 10.0.0.1:6443 --advertise-address 10.0.0.1`,
		Args: cli.Takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return runUp(cmd.Context(), opts, &flags) },
	}
	flags.AddServerFlags(cmd.Flags())
	return cmd
}
