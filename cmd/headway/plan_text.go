package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"headway.dev/syncer/wire"
)

// perKustomization is a plan in its parts.
func perKustomization(plans wire.Plans) []wire.Plan {
	if len(plans.Plans) > 0 {
		return plans.Plans
	}
	return []wire.Plan{plans.Plan}
}

func planText(out io.Writer, plans wire.Plans) {
	colour := paletteFor(out)
	list := perKustomization(plans)
	for _, p := range list {
		if len(list) > 1 {
			fmt.Fprintln(out, colour.dim(strings.TrimSpace("Kustomization "+p.Kustomization+" "+planRelations(p))))
		}
		for _, a := range p.Actions {
			actionText(out, colour, a)
		}
		for _, r := range p.Rollouts {
			fmt.Fprintln(out, "  "+objectName(r.Kind, r.Namespace, r.Name)+": "+rolloutWords(r))
		}
	}
	for _, c := range plans.Checks {
		line := c.Name + ": " + c.Message
		if len(list) > 1 {
			line = c.Kustomization + ": " + line
		}
		switch c.Result {
		case wire.CheckFailed:
			fmt.Fprintln(out, colour.red("✗ "+line))
		case wire.CheckWarning:
			fmt.Fprintln(out, colour.yellow("! "+line))
		default:
			fmt.Fprintln(out, colour.dim("✓ "+line))
		}
	}
	fmt.Fprintf(out, "%s%s\n", planTarget(plans.Plan), planSummary(plans.Summary))
}

func actionText(out io.Writer, colour palette, a wire.Action) {
	name := objectName(a.Kind, a.Namespace, a.Name)
	switch a.Action {
	case "Create":
		fmt.Fprintln(out, colour.green("+ create "+name))
	case "Delete":
		fmt.Fprintln(out, colour.red("- delete "+name))
	case "Skip":
		fmt.Fprintln(out, colour.dim("· leave "+name+": "+a.Reason))
	case "Update":
		line := "~ update " + name
		if a.Recreate {
			line = "± recreate " + name
		}
		line = colour.yellow(line)
		if a.Restart {
			line += " (replaces its pods)"
		}
		if a.Recreate {
			line += " (" + a.Reason + ")"
		}
		fmt.Fprintln(out, line)
		for _, f := range a.Fields {
			fmt.Fprintf(out, "    %s: %s → %s\n", f.Path, planValue(f.Old), planValue(f.New))
		}
	}
}

// planRelations says where a Kustomization comes from and what it waits for.
func planRelations(p wire.Plan) string {
	var words []string
	if p.Base == "" {
		words = append(words, "new")
	}
	if p.Parent != "" {
		words = append(words, "declared by "+p.Parent)
	}
	if len(p.DependsOn) > 0 {
		words = append(words, "after "+strings.Join(p.DependsOn, ", "))
	}
	if len(words) == 0 {
		return ""
	}
	return "(" + strings.Join(words, "; ") + ")"
}

// rolloutWords tells in a line what becomes of a workload's pods.
func rolloutWords(r wire.Rollout) string {
	var words []string
	if n := len(r.Replaced); n > 0 {
		words = append(words, fmt.Sprintf("replaces %s by %d: %s", count(n, "pod"), r.New, someNames(r.Replaced)))
	} else if r.New > 0 {
		words = append(words, "starts "+count(r.New, "pod"))
	}
	if n := len(r.Removed); n > 0 {
		words = append(words, fmt.Sprintf("removes %s: %s", count(n, "pod"), someNames(r.Removed)))
	}
	if r.Fewer > 0 {
		words = append(words, "removes "+count(r.Fewer, "pod"))
	}
	switch r.Strategy {
	case "":
	case "RollingUpdate":
		words = append(words, fmt.Sprintf("at most %d more and %d less meanwhile", r.MaxSurge, r.MaxUnavailable))
	default:
		words = append(words, "strategy "+r.Strategy+", all at once")
	}
	if r.Note != "" {
		words = append(words, r.Note)
	}
	return strings.Join(words, "; ")
}

// someNames names the first pods and counts the rest.
func someNames(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
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
	if text, ok := value.(string); ok && !strings.ContainsAny(text, "\n\r\x1b") {
		return text
	}
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(data)
}
