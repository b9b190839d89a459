package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	kubecli "k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"headway.dev/cmd/headway/cli"
)

func newKubectl(opts *cli.Options) *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl [ARGUMENTS]",
		Short: "The real kubectl against this cluster",
		Long: `Kubectl runs the built-in kubectl against this cluster. A link named kubectl that
points to headway does the same. Any other kubectl works with the kubeconfig in the
data directory.`,
		Example:            "  headway kubectl get pods -A\n  headway kubectl logs -f deploy/hello -n hello",
		DisableFlagParsing: true,
		RunE: func(command *cobra.Command, args []string) error {
			args, err := headwayFlags(command, args)
			if err != nil {
				return err
			}
			if code := kubectl(args, opts.FindKubeconfig(), opts.In, opts.Out, opts.Err); code != 0 {
				return cli.ExitError{Code: code}
			}
			return nil
		},
	}
}

// headwayFlags takes a leading --data-dir off the arguments: everything else
// is kubectl's to understand.
func headwayFlags(command *cobra.Command, args []string) ([]string, error) {
	for len(args) > 0 {
		flags := command.InheritedFlags()
		name, value, hasValue := cutFlag(args[0])
		if name != "data-dir" {
			break
		}
		args = args[1:]
		if !hasValue {
			if len(args) == 0 {
				return nil, errors.New("flag needs an argument: --data-dir")
			}
			value, args = args[0], args[1:]
		}
		if err := flags.Set(name, value); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// kubectl runs kubectl with its own arguments and returns its exit code.
func kubectl(args []string, kubeconfig string, in io.Reader, out, errOut io.Writer) int {
	if kubeconfig != "" {
		// kubectl's plugins and credential helpers read it from the
		// environment, as they do when a person sets it.
		if err := os.Setenv("KUBECONFIG", kubeconfig); err != nil {
			fmt.Fprintln(errOut, "headway:", err)
			return cli.ExitFailed
		}
	}
	streams := genericiooptions.IOStreams{In: in, Out: out, ErrOut: errOut}
	command := cmd.NewDefaultKubectlCommandWithArgs(cmd.KubectlOptions{
		PluginHandler: cmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
		Arguments:     append([]string{"kubectl"}, args...),
		ConfigFlags:   genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().WithDiscoveryBurst(300).WithDiscoveryQPS(50),
		IOStreams:     streams,
	})
	command.SetArgs(args)
	if err := kubecli.RunNoErrOutput(command); err != nil {
		cmdutil.CheckErr(err) // prints as kubectl does, and exits
	}
	return cli.ExitOK
}

// cutFlag splits --name=value.
func cutFlag(arg string) (name, value string, hasValue bool) {
	trimmed, ok := strings.CutPrefix(arg, "--")
	if !ok {
		return "", "", false
	}
	return cut(trimmed)
}

func cut(s string) (string, string, bool) { return strings.Cut(s, "=") }
