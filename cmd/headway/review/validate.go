package review

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
	"headway.dev/engine/admission"
	"headway.dev/engine/admission/plugins"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/check"
	"headway.dev/manifests/yaml/load"
	"headway.dev/manifests/yaml/sops"
	"headway.dev/syncer/git"
)

// fault is one error of validate's JSON.
type fault struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Field  string `json:"field,omitempty"`
	Reason string `json:"reason"`
}

// Validated is the outcome of validate, as -o json prints it.
type Validated struct {
	Objects int     `json:"objects"`
	Faults  []fault `json:"faults"`
	// Warnings are about fields that are accepted but have no effect, and about
	// pods that would be refused.
	Warnings []fault `json:"warnings"`
}

// NewValidate is `headway validate`.
func NewValidate(opts *cli.Options) *cobra.Command {
	var format cli.Format
	var podSecurity string
	cmd := &cobra.Command{
		Use:   "validate PATH",
		Short: "Check manifests without a cluster",
		Long: `Validate decodes the manifests in a file or a directory (through kustomize if it
has a kustomization file), sets defaults and validates, as the cluster would
before it applies them. It uses neither a cluster nor the network.

In a directory it ignores the files that a source ignores: those that .sourceignore
files from the clone's root on name or, if there are none, those that Flux ignores. It
does not know spec.ignore of a GitRepository; headway plan --path does. A directory
that is itself ignored, and a single file, are checked all the same.

Fields that are accepted but have no effect, and workloads whose pods the PodSecurity
of a namespace would refuse, are reported as warnings on standard error. Namespaces are
known if they are among the manifests; others have the level of --pod-security.

Exit code 0: no fault. 1: faults, one a line on standard error.`,
		Example: "  headway validate .\n  headway validate apps/hello/overlays/production\n  headway validate deployment.yaml -o json",
		Args:    cli.Takes(1, 1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		items, err := loadPath(cmd.Context(), args[0])
		if err == nil {
			err = check.Items(items)
		}
		warnings := check.Warnings(items)
		for _, w := range warnings {
			w.Reason += ": not supported yet and without effect"
		}
		security, levelErr := plugins.NewPodSecurity(nil, plugins.Levels{Enforce: podSecurity}, nil)
		if levelErr != nil {
			return fmt.Errorf("--pod-security: %w", levelErr)
		}
		chain := admission.NewChain(admission.Plugin{Name: "PodSecurity", Interface: security})
		warned, refused := foreseePods(cmd.Context(), chain, items)
		err, warnings = errors.Join(err, refused), append(warnings, warned...)
		if format.JSON() {
			if err := report.PrintJSON(opts.Out, Validated{Objects: len(items), Faults: faults(err), Warnings: asFaults(warnings)}); err != nil {
				return err
			}
		} else {
			for _, w := range warnings {
				fmt.Fprintf(opts.Err, "warning: %s\n", w)
			}
			if err != nil {
				fmt.Fprintln(opts.Err, err)
			}
		}
		if err != nil {
			return cli.ExitError{Code: cli.ExitFailed}
		}
		if !format.JSON() {
			fmt.Fprintf(opts.Out, "%s, no fault\n", report.CountObjects(len(items)))
		}
		return nil
	}
	format.Register(cmd)
	cmd.Flags().StringVar(&podSecurity, "pod-security", "privileged", "what pods may do in namespaces that are not among the manifests or have no label: privileged, baseline or restricted, as for headway up")
	return cmd
}

// foreseePods says which pods the PodSecurity of their namespaces would refuse,
// and which workloads make such.
func foreseePods(ctx context.Context, chain *admission.Chain, items []load.Item) (warnings []*load.Error, refused error) {
	declared := declaredObjects{}
	for _, item := range items {
		if key, err := scheme.KeyOf(item.Object); err == nil {
			declared[key] = item.Object
		}
	}
	var faults []error
	for _, item := range items {
		obj := item.Object.DeepCopyObject().(object.Object)
		key, err := scheme.KeyOf(obj)
		if kind, ok := scheme.ForKind(key.GroupKind); err != nil || !ok {
			continue
		} else if kind.Namespaced && key.Namespace == "" {
			obj.SetNamespace("default")
		}
		answer := chain.Foresee(ctx, admission.Ask{View: declared, Object: obj})
		if answer.Refused != nil {
			faults = append(faults, item.Fault("", answer.Refused.Error()))
		}
		for _, w := range answer.Warnings {
			warnings = append(warnings, item.Fault("", w))
		}
	}
	return warnings, errors.Join(faults...)
}

// declaredObjects is a cluster that has what is declared and nothing else.
type declaredObjects map[object.Key]object.Object

// Get implements object.Reader.
func (d declaredObjects) Get(key object.Key) object.Object { return d[key] }

// List implements object.Reader.
func (d declaredObjects) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	var list []object.Object
	for key, obj := range d {
		if key.GroupKind == kind && (namespace == "" || key.Namespace == namespace) {
			list = append(list, obj)
		}
	}
	return list, 0
}

// loadPath loads a file, or a directory whose kustomizations may refer to
// files beside it, up to the root of its Git work tree.
func loadPath(ctx context.Context, path string) ([]load.Item, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if _, encrypted := sops.Detect(path, data); encrypted {
			if data, err = sops.Placeholder(path, data); err != nil {
				return nil, &load.Error{Source: load.Source{File: path}, Reason: err.Error()}
			}
		}
		return load.Bytes(path, data)
	}
	root, dir, err := workTree(path)
	if err != nil {
		return nil, err
	}
	tree, err := asSource(root, dir)
	if err != nil {
		return nil, err
	}
	return load.Dir(ctx, tree, dir, load.Options{Decrypt: withoutKeys})
}

// asSource are the files below root as a source yields them, unless it yields
// nothing of the directory that is asked for.
func asSource(root, dir string) (fs.FS, error) {
	tree := os.DirFS(root)
	excluded, err := git.ReadExcluded(tree, "")
	if err != nil {
		return nil, err
	}
	if out, err := excluded.Dir(dir); err != nil || out {
		return tree, err
	}
	return excluded.From(tree), nil
}

// withoutKeys reads encrypted files with placeholders for their values: what
// there is to check is the rest.
func withoutKeys(name string, data []byte) (sops.File, error) {
	out, err := sops.Placeholder(name, data)
	return sops.File{Plain: out, Placeholder: out}, err
}

// faults takes a load's or a check's joined error apart.
func faults(err error) []fault {
	found := asFaults(load.Errors(err))
	if err != nil && len(found) == 0 {
		found = append(found, fault{Reason: err.Error()})
	}
	return found
}

func asFaults(list []*load.Error) []fault {
	found := []fault{}
	for _, e := range list {
		found = append(found, fault{File: e.Source.File, Line: e.Source.Line, Field: e.Field, Reason: e.Reason})
	}
	return found
}
