package main

import (
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"headway.dev/cmd/headway/up/datadir"
)

// options are the flags that every command has.
type options struct {
	dataDir    string
	kubeconfig string
	in         io.Reader
	out, err   io.Writer
	// flags say what was given; nil if nothing was.
	flags *pflag.FlagSet
}

// dataDirGiven reports whether the command line has --data-dir.
func (o *options) dataDirGiven() bool { return o.flags != nil && o.flags.Changed("data-dir") }

func newRoot(in io.Reader, out, errOut io.Writer) *cobra.Command {
	opts := &options{in: in, out: out, err: errOut}
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
		Args:          commandsOnly,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	root.SetFlagErrorFunc(suggestFlags)
	opts.flags = root.PersistentFlags()
	root.PersistentFlags().StringVar(&opts.dataDir, "data-dir", datadir.Default, "where the cluster keeps its state")
	root.PersistentFlags().StringVar(&opts.kubeconfig, "kubeconfig", "", "the cluster to talk to (default: <data-dir>/kubeconfig if --data-dir is given, else KUBECONFIG)")
	root.AddCommand(
		newUp(opts),
		newStatus(opts),
		newSync(opts),
		newPlan(opts),
		newValidate(opts),
		newRollback(opts),
		newSuspend(opts),
		newResume(opts),
		newLog(opts),
		newBlame(opts),
		newGet(opts),
		newDiff(opts),
		newImage(opts),
		newKubectl(opts),
		newKubeconfig(opts),
		newCleanup(opts),
		newVersion(opts),
		newMan(opts),
		newExampleWeb(),
	)
	opts.completeFlags(root)
	return root
}
