package cli

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/report"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/wire"
)

// Completion answers a shell's requests while a person types. A cluster that
// does not answer completes nothing.
type Completion = func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective)

// CompleteObject completes KIND/NAME: first the kind, then the names that exist
// in the cluster.
func (o *Options) CompleteObject(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	word, _, ok := strings.Cut(typed, "/")
	if !ok {
		var kinds []cobra.Completion
		for _, k := range scheme.Kinds() {
			kinds = append(kinds, strings.ToLower(k.Kind)+"/")
		}
		slices.Sort(kinds)
		return kinds, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	}
	kind, _, err := ParseObject(word + "/x")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	client, err := o.Client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, name := range client.names(cmd.Context(), kind, cmd.Flag("namespace").Value.String()) {
		names = append(names, word+"/"+name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// names are the names of the objects of a kind.
func (c *Client) names(ctx context.Context, kind, namespace string) []string {
	for _, k := range scheme.Kinds() {
		if k.Kind != kind {
			continue
		}
		path := "/apis/" + k.Group + "/" + k.Version
		if k.Group == "" {
			path = "/api/" + k.Version
		}
		if namespace != "" && k.Namespaced {
			path += "/namespaces/" + namespace
		}
		var list metav1.PartialObjectMetadataList
		if c.Call(ctx, http.MethodGet, path+"/"+k.Plural+"?limit=500", nil, &list) != nil {
			return nil
		}
		var names []string
		for _, item := range list.Items {
			names = append(names, item.Name)
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
	return nil
}

// CompleteCommit completes commits of the journal, with their subjects.
func (o *Options) CompleteCommit(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	client, err := o.Client()
	if len(args) > 0 || err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var entries []wire.LogEntry
	if client.Call(cmd.Context(), http.MethodGet, "/headway/v1/log?limit=50", nil, &entries) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var commits []cobra.Completion
	for _, e := range entries {
		if e.Commit != nil {
			if word := cobra.CompletionWithDesc(report.ShortSHA(e.Commit.SHA), e.Commit.Subject); !slices.Contains(commits, word) {
				commits = append(commits, word)
			}
		}
	}
	return commits, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// CompleteFlags completes the flags that name sources and Kustomizations.
func (o *Options) CompleteFlags(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		for flag, pick := range map[string]func(wire.Status) []string{"source": sourceNames, "kustomization": kustomizationNames} {
			if cmd.Flags().Lookup(flag) == nil {
				continue
			}
			// It fails only for a flag that is not there.
			_ = cmd.RegisterFlagCompletionFunc(flag, o.completeStatus(pick))
		}
	}
}

func (o *Options) completeStatus(pick func(wire.Status) []string) Completion {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		client, err := o.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var status wire.Status
		if client.Call(cmd.Context(), http.MethodGet, "/headway/v1/status", nil, &status) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return pick(status), cobra.ShellCompDirectiveNoFileComp
	}
}

func sourceNames(status wire.Status) []string {
	var names []string
	for _, s := range status.Sources {
		names = append(names, s.Namespace+"/"+s.Name)
	}
	return names
}

func kustomizationNames(status wire.Status) []string {
	var names []string
	for _, s := range status.Sources {
		for _, k := range s.Kustomizations {
			names = append(names, k.Namespace+"/"+k.Name)
		}
	}
	for _, k := range status.Kustomizations {
		names = append(names, k.Namespace+"/"+k.Name)
	}
	return names
}
