package cluster

import (
	"context"

	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/member"
	"headway.dev/cmd/headway/up"
)

// NewUp makes the command up.
func NewUp(opts *cli.Options) *cobra.Command {
	var flags up.Options
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a cluster on this machine, in the foreground",
		Long: `Up runs the server and the agent on this machine and makes the cluster follow a
branch of a Git repository. Without --repo it creates a bare repository in the
data directory from an example, and prints how to clone it.

Ctrl-C stops it. Containers keep running, and the next start adopts them.
Run it as root: containers, networks and cgroups need it.`,
		Example: `  headway up
  headway up --repo /srv/git/deploy.git --path clusters/prod
  headway up --repo https://git.example.com/team/deploy --branch main --interval 30s`,
		Args: cli.Takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return runUp(cmd.Context(), opts, &flags) },
	}
	flags.AddFlags(cmd.Flags())
	return cmd
}

// runUp runs what the flags of up, or of server, ask for, until ctx ends.
func runUp(ctx context.Context, opts *cli.Options, flags *up.Options) error {
	flags.DataDir, flags.Version, flags.Out, flags.Err = opts.DataDir, opts.Version, opts.Out, opts.Err
	cfg, err := flags.Config()
	if err != nil {
		return err
	}
	member.Libraries(cfg.Log)
	return up.Run(ctx, cfg)
}
