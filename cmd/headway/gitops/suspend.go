package gitops

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/wire"
)

// NewSuspend is `headway suspend`.
func NewSuspend(opts *cli.Options) *cobra.Command {
	return newSuspension(opts, true, &cobra.Command{
		Use:   "suspend [KIND/NAME]",
		Short: "Stop following Git, for one Kustomization or source",
		Long: `Suspend stops a Kustomization from applying new commits and from undoing edits by
hand, or a GitRepository from fetching new commits. Without an argument it suspends
the Kustomization headway-system/cluster. The suspension lasts until headway resume,
even for a Kustomization that is itself declared in Git, and status shows who
suspended it, and when. What runs keeps running.

Exit code 0: it is suspended. 1: something failed.`,
		Example: "  headway suspend\n  headway suspend ks/apps -n web\n  headway suspend gitrepo/cluster",
	})
}

// NewResume is `headway resume`.
func NewResume(opts *cli.Options) *cobra.Command {
	return newSuspension(opts, false, &cobra.Command{
		Use:   "resume [KIND/NAME]",
		Short: "Follow Git again, after suspend",
		Long: `Resume makes a Kustomization (by default headway-system/cluster) or a GitRepository
follow Git again after headway suspend: the newest commit is applied at once. To
resume what Git itself suspends, change it there with a commit.

Exit code 0: it is resumed. 1: something failed.`,
		Example: "  headway resume\n  headway resume ks/apps -n web\n  headway resume gitrepo/cluster",
	})
}

// Suspension is the outcome of suspend or resume, as -o json prints it.
type Suspension struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Suspended bool   `json:"suspended"`
	// ByGit reports whether Git also sets spec.suspend to true.
	ByGit bool `json:"byGit,omitempty"`
}

func newSuspension(opts *cli.Options, suspend bool, cmd *cobra.Command) *cobra.Command {
	var format cli.Format
	var namespace string
	cmd.Args = cli.Takes(0, 1)
	cmd.ValidArgsFunction = completeSuspendable(opts, suspend)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		target := "kustomization/" + wire.RootName
		if len(args) > 0 {
			target = args[0]
		}
		kind, name, err := cli.ParseObject(target)
		if err != nil {
			return err
		}
		if kind != "Kustomization" && kind != "GitRepository" {
			return fmt.Errorf("a %s follows no Git: name a Kustomization (ks/NAME) or a GitRepository (gitrepo/NAME)", kind)
		}
		client, err := opts.Client()
		if err != nil {
			return err
		}
		out := Suspension{Kind: kind, Namespace: namespace, Name: name, Suspended: suspend}
		if out.ByGit, err = setSuspend(cmd.Context(), client, out); err != nil {
			return err
		}
		if out.ByGit && !suspend {
			fmt.Fprintln(opts.Err, "warning: spec.suspend is true in Git, too: take it out there, or the next sync suspends it again")
		}
		if format.JSON() {
			return report.PrintJSON(opts.Out, out)
		}
		return tellSuspension(opts, out)
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", wire.SystemNamespace, "namespace of the object")
	format.Register(cmd)
	return cmd
}

func tellSuspension(opts *cli.Options, s Suspension) error {
	word := "resumed"
	if s.Suspended {
		word = "suspended"
	}
	_, err := fmt.Fprintf(opts.Out, "%s %s/%s %s\n", s.Kind, s.Namespace, s.Name, word)
	return err
}

// setSuspend sets spec.suspend, and reports whether Git sets it to true as well.
func setSuspend(ctx context.Context, c *cli.Client, s Suspension) (byGit bool, err error) {
	at := slices.IndexFunc(scheme.Kinds(), func(k *kind.Kind) bool { return k.Kind == s.Kind })
	kind := scheme.Kinds()[at]
	path := fmt.Sprintf("/apis/%s/%s/namespaces/%s/%s/%s", kind.Group, kind.Version, s.Namespace, kind.Plural, s.Name)
	var before struct {
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			Suspend bool `json:"suspend"`
		} `json:"spec"`
	}
	if err := c.Call(ctx, http.MethodGet, path, nil, &before); err != nil {
		return false, err
	}
	for _, m := range before.ManagedFields {
		var set struct {
			Spec map[string]json.RawMessage `json:"f:spec"`
		}
		if m.Manager == "headway" && m.Operation == metav1.ManagedFieldsOperationApply && m.FieldsV1 != nil && json.Unmarshal(m.FieldsV1.GetRawBytes(), &set) == nil {
			_, owns := set.Spec["f:suspend"]
			byGit = byGit || owns && before.Spec.Suspend
		}
	}
	word := "resume"
	if s.Suspended {
		word = "suspend"
	}
	patch := map[string]any{"spec": map[string]any{"suspend": s.Suspended}}
	return byGit, c.Patch(ctx, path+"?fieldManager=headway-"+word, types.MergePatchType, patch)
}

// completeSuspendable completes what can be suspended, or resumed.
func completeSuspendable(o *cli.Options, suspend bool) cli.Completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		client, err := o.Client()
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var status wire.Status
		if client.Call(cmd.Context(), http.MethodGet, "/headway/v1/status", nil, &status) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		namespace := cmd.Flag("namespace").Value.String()
		var words []cobra.Completion
		add := func(kind, in, name string, suspended bool) {
			if in == namespace && suspended != suspend {
				words = append(words, kind+"/"+name)
			}
		}
		all := status.Kustomizations
		for _, s := range status.Sources {
			add("gitrepository", s.Namespace, s.Name, s.Suspended)
			all = append(all, s.Kustomizations...)
		}
		for _, k := range all {
			add("kustomization", k.Namespace, k.Name, k.Sync == wire.SyncSuspended)
		}
		slices.Sort(words)
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}
