package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

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
			return showPlan(opts, plan.Plan, format)
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "source to plan for, as NAMESPACE/NAME")
	cmd.Flags().StringVar(&dir, "path", "", "plan this directory of a clone instead of a revision; at the clone's root, the directory that is applied")
	format.register(cmd, "markdown")
	return cmd
}

// showPlan prints the plan; its result carries the exit code.
func showPlan(opts *options, plan wire.Plan, format outputFormat) error {
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

func planText(out io.Writer, plan wire.Plan) {
	colour := paletteFor(out)
	for _, a := range plan.Actions {
		name := objectName(a.Kind, a.Namespace, a.Name)
		switch a.Action {
		case "Create":
			fmt.Fprintln(out, colour.green("+ create "+name))
		case "Delete":
			fmt.Fprintln(out, colour.red("- delete "+name))
		case "Update":
			line := colour.yellow("~ update " + name)
			if a.Restart {
				line += " (replaces its pods)"
			}
			fmt.Fprintln(out, line)
			for _, f := range a.Fields {
				fmt.Fprintf(out, "    %s: %s → %s\n", f.Path, planValue(f.Old), planValue(f.New))
			}
		}
	}
	fmt.Fprintf(out, "%s%s\n", planTarget(plan), planSummary(plan.Summary))
}

func planMarkdown(out io.Writer, plan wire.Plan) {
	fmt.Fprintf(out, "### %s%s\n", planTarget(plan), planSummary(plan.Summary))
	for _, fault := range plan.Errors {
		fmt.Fprintf(out, "\n- **error** %s\n", fault.Message)
	}
	var rows int
	for _, a := range plan.Actions {
		if a.Action == "Unchanged" || a.Action == "Skip" {
			continue
		}
		if rows == 0 {
			fmt.Fprint(out, "\n| action | object | field | old | new |\n|---|---|---|---|---|\n")
		}
		rows++
		action := strings.ToLower(a.Action)
		if a.Restart {
			action += ", replaces pods"
		}
		fmt.Fprintf(out, "| %s | %s | | | |\n", action, cell(objectName(a.Kind, a.Namespace, a.Name)))
		if a.Action != "Update" {
			continue
		}
		for _, f := range a.Fields {
			fmt.Fprintf(out, "| | | `%s` | %s | %s |\n", f.Path, cell(planValue(f.Old)), cell(planValue(f.New)))
		}
	}
}

// cell keeps a value from ending its table cell.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(text)
}

func planTarget(plan wire.Plan) string {
	switch {
	case plan.Target == "":
		return "Plan: "
	case plan.Base == "":
		return "Plan of " + shortRevision(plan.Target) + ": "
	}
	return fmt.Sprintf("Plan %s → %s: ", shortRevision(plan.Base), shortRevision(plan.Target))
}

func planSummary(s wire.Summary) string {
	if s.Create+s.Update+s.Delete == 0 {
		return "no change"
	}
	return fmt.Sprintf("%d to create, %d to update, %d to delete, %d with restarts", s.Create, s.Update, s.Delete, s.Restart)
}

func planValue(value any) string {
	if value == nil {
		return "(none)"
	}
	if text, ok := value.(string); ok && !strings.ContainsAny(text, "\n") {
		return text
	}
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(data)
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
