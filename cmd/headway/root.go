package main

import (
	"io"

	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/cluster"
	"headway.dev/cmd/headway/datadir"
	"headway.dev/cmd/headway/gitops"
	"headway.dev/cmd/headway/review"
)

func newRoot(in io.Reader, out, errOut io.Writer) *cobra.Command {
	opts := &cli.Options{Version: version, In: in, Out: out, Err: errOut}
	root := &cobra.Command{
		Use:   "headway",
		Short: "Run containers exactly as a Git repository says",
		Long: `Headway runs containers on your machines exactly as your Git repository says.
A commit is a deploy, a revert commit is a rollback, git log is the audit.`,
		Example: `  headway up                                    # a cluster here, from an example repository
  headway up --repo https://git.example.com/team/deploy --path clusters/prod
  headway plan my-branch                        # what would merging this change?
  headway rollback                              # revert the newest commit, in Git and here
  headway kubectl get pods -A`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cli.CommandsOnly,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	root.SetFlagErrorFunc(cli.SuggestFlags)
	opts.Flags = root.PersistentFlags()
	root.PersistentFlags().StringVar(&opts.DataDir, "data-dir", datadir.Default, "where the cluster keeps its state")
	root.PersistentFlags().StringVar(&opts.Kubeconfig, "kubeconfig", "", "the cluster to talk to (default: <data-dir>/kubeconfig if --data-dir is given, else KUBECONFIG)")
	root.AddCommand(
		cluster.NewUp(opts),
		cluster.NewServer(opts),
		cluster.NewAgent(opts),
		cluster.NewToken(opts),
		gitops.NewStatus(opts),
		gitops.NewSync(opts),
		review.NewPlan(opts),
		review.NewValidate(opts),
		gitops.NewRollback(opts),
		gitops.NewSuspend(opts),
		gitops.NewResume(opts),
		gitops.NewLog(opts),
		gitops.NewBlame(opts),
		gitops.NewWhy(opts),
		gitops.NewGet(opts),
		review.NewDiff(opts),
		newImage(opts),
		newKubectl(opts),
		newKubeconfig(opts),
		newSecrets(opts),
		newHollow(opts),
		cluster.NewCleanup(opts),
		newVersion(opts),
		newMan(opts),
		newExampleWeb(),
	)
	opts.CompleteFlags(root)
	return root
}
