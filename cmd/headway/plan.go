package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"headway.dev/syncer/wire"
)

// maxUpload bounds the files that plan --path sends.
const maxUpload = 64 << 20

func newPlan(opts *options) *cobra.Command {
	var format outputFormat
	var source, dir string
	cmd := &cobra.Command{
		Use:   "plan [REV]",
		Short: "Show what a commit, branch or directory would change",
		Long: `Plan shows what the cluster would change if it followed REV (a branch, tag or
commit of the source; by default the newest commit of the branch it follows), or
the manifests in a directory of a clone, uncommitted changes included. It
changes nothing.

Exit code 0: no change. 2: changes. 1: an error, such as an invalid manifest.`,
		Example: `  headway plan my-branch
  headway plan --path .                  # the clone in the working directory
  headway plan my-branch -o markdown     # for a comment on a pull request`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := wire.PlanRequest{Source: source}
			switch {
			case dir != "" && len(args) > 0:
				return errors.New("give either REV or --path")
			case dir != "":
				// From the work tree's root: kustomizations refer to files
				// beside their own directory.
				root, below, err := workTree(dir)
				if err != nil {
					return err
				}
				if request.Files, err = readTree(root); err != nil {
					return err
				}
				if below != "." {
					request.Path = below
				}
			case len(args) > 0:
				request.Rev = args[0]
			}
			client, err := opts.client()
			if err != nil {
				return err
			}
			var plan wire.Plans
			if err := client.call(cmd.Context(), http.MethodPost, "/headway/v1/plan", request, &plan); err != nil {
				return err
			}
			return showPlan(opts, plan, format)
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "source to plan for, as NAMESPACE/NAME")
	cmd.Flags().StringVar(&dir, "path", "", "plan this directory of a clone instead of a revision; at the clone's root, the directory that is applied")
	format.register(cmd, "markdown")
	return cmd
}

// showPlan prints the plan; its result carries the exit code.
func showPlan(opts *options, plan wire.Plans, format outputFormat) error {
	switch format.value {
	case "json":
		if err := printJSON(opts.out, plan); err != nil {
			return err
		}
	case "markdown":
		planMarkdown(opts.out, plan)
	default:
		planText(opts.out, plan)
	}
	if len(plan.Errors) > 0 {
		for _, fault := range plan.Errors {
			fmt.Fprintln(opts.err, "error:", fault.Message)
		}
		return exitError{exitFailed}
	}
	if plan.Summary.Create+plan.Summary.Update+plan.Summary.Delete > 0 {
		return exitError{exitChanges}
	}
	return nil
}

// readTree reads the files below dir that a build may use.
func readTree(dir string) (map[string]string, error) {
	files := map[string]string{}
	var total int64
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if entry.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if total += info.Size(); total > maxUpload {
			return fmt.Errorf("%s holds more than %d MiB: plan a branch instead", dir, maxUpload>>20)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(rel)] = string(data)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dir, err)
	}
	return files, nil
}
