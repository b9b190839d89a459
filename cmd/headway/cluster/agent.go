package cluster

import (
	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/member"
)

// NewAgent makes the command agent.
func NewAgent(opts *cli.Options) *cobra.Command {
	var agent member.Agent
	cmd := &cobra.Command{
		Use:   "agent --server URL --token TOKEN --ca-hash HASH",
		Short: "Make this machine a node of a cluster that runs elsewhere, in the foreground",
		Long: `Agent joins the cluster of a server and runs the pods that are bound to this
machine, until it is stopped. On the server, ` + "`headway token create`" + ` prints the command.

The machine proves itself by the token, and the server by the hash of its
authority. The node gets a certificate of its own, kept in the data directory and
renewed before it ends: later starts need neither. A token is no right to be a node
that has joined already: remove that first (kubectl delete node NAME), or choose
another --node-name.

While the server is away, pods keep running and being served. Ctrl-C stops the agent;
containers keep running, and the next start adopts them. Run it as root.`,
		Example: `  headway agent --server https://10.0.0.1:6443 --token abcdef.0123456789abcdef --ca-hash sha256:…
  headway agent --server https://10.0.0.1:6443 --token-file /root/token --ca-hash sha256:…
  headway agent --server https://10.0.0.1:6443   # has joined before`,
		Args: cli.Takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			agent.DataDir, agent.Version, agent.In, agent.Out, agent.Err = opts.DataDir, opts.Version, cmd.InOrStdin(), opts.Out, opts.Err
			return agent.Run(cmd.Context())
		},
	}
	agent.AddFlags(cmd.Flags())
	return cmd
}
