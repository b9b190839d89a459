package report

import (
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

// PlanText writes a plan for a terminal.
func PlanText(out io.Writer, plans wire.Plans) {
	colour := PaletteFor(out)
	out = screened{out}
	list := perKustomization(plans)
	shown := &actions{out: out, colour: colour}
	for _, p := range list {
		if len(list) > 1 {
			fmt.Fprintln(out, colour.dim(strings.TrimSpace("Kustomization "+p.Kustomization+" "+planRelations(p))))
		}
		for _, a := range p.Actions {
			shown.print(a)
		}
		for _, r := range p.Rollouts {
			fmt.Fprintln(out, "  "+ObjectName(r.Kind, r.Namespace, r.Name)+": "+rolloutWords(r))
		}
	}
	for _, c := range plans.Checks {
		line := c.Name + ": " + c.Message
		if len(list) > 1 {
			line = c.Kustomization + ": " + line
		}
		switch c.Result {
		case wire.CheckFailed:
			fmt.Fprintln(out, colour.Red("✗ "+line))
		case wire.CheckWarning:
			fmt.Fprintln(out, colour.Yellow("! "+line))
		default:
			fmt.Fprintln(out, colour.dim("✓ "+line))
		}
	}
	fmt.Fprintf(out, "%s%s\n", planTarget(plans.Plan), planSummary(plans))
}

const (
	// maxFieldLines bounds the lines of a field or a new object, and
	// maxContent those of all new objects together.
	maxFieldLines = 200
	maxContent    = 2000
)

// actions prints what becomes of objects.
type actions struct {
	out     io.Writer
	colour  Palette
	content int // lines of new objects so far
}

func (p *actions) print(a wire.Action) {
	name := ObjectName(a.Kind, a.Namespace, a.Name)
	switch a.Action {
	case "Create":
		if a.Replaces != "" {
			fmt.Fprintln(p.out, p.colour.Yellow("~ update "+ObjectName(a.Kind, a.Namespace, a.Replaces))+", which becomes "+a.Name)
			p.fields(a.Fields)
			return
		}
		fmt.Fprintln(p.out, p.colour.Green("+ create "+name))
		lines := objectLines(a.Object, maxFieldLines)
		if p.content += len(lines); p.content > maxContent {
			lines = []string{"… its content is left out"}
		}
		for _, line := range lines {
			fmt.Fprintln(p.out, "    "+p.colour.Green(printable(line)))
		}
	case "Delete":
		if a.ReplacedBy == "" {
			fmt.Fprintln(p.out, p.colour.Red("- delete "+name))
		}
	case "Skip":
		fmt.Fprintln(p.out, p.colour.dim("· leave "+name+": "+a.Reason))
	case "Update":
		line := "~ update " + name
		if a.Recreate {
			line = "± recreate " + name
		}
		line = p.colour.Yellow(line)
		if a.Restart {
			line += " (replaces its pods)"
		}
		if a.Reason != "" {
			line += " (" + a.Reason + ")"
		}
		fmt.Fprintln(p.out, line)
		p.fields(a.Fields)
	}
}

func (p *actions) fields(fields []wire.Field) {
	for _, f := range fields {
		if text, ok := inline(f); ok {
			fmt.Fprintf(p.out, "    %s: %s\n", printable(f.Path), text)
			continue
		}
		fmt.Fprintf(p.out, "    %s:\n", printable(f.Path))
		for _, line := range fieldLines(f, maxFieldLines) {
			switch line[0] {
			case '+':
				line = p.colour.Green(line)
			case '-':
				line = p.colour.Red(line)
			}
			fmt.Fprintln(p.out, "      "+line)
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

// rolloutWords describes in one line what happens to a workload's pods.
func rolloutWords(r wire.Rollout) string {
	var words []string
	if n := len(r.Replaced); n > 0 {
		words = append(words, fmt.Sprintf("replaces %s by %d: %s", Count(n, "pod"), r.New, someNames(r.Replaced)))
	} else if r.New > 0 {
		words = append(words, "starts "+Count(r.New, "pod"))
	}
	if n := len(r.Removed); n > 0 {
		words = append(words, fmt.Sprintf("removes %s: %s", Count(n, "pod"), someNames(r.Removed)))
	}
	if r.Fewer > 0 {
		words = append(words, "removes "+Count(r.Fewer, "pod"))
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

func planTarget(plan wire.Plan) string {
	switch {
	case plan.Target == "":
		return "Plan: "
	case plan.Base == "":
		return "Plan of " + ShortRevision(plan.Target) + ": "
	}
	return fmt.Sprintf("Plan %s → %s: ", ShortRevision(plan.Base), ShortRevision(plan.Target))
}

// planSummary is a plan in a line: what would change, and before it what would
// not because it is refused.
func planSummary(plans wire.Plans) string {
	list := perKustomization(plans)
	var sum wire.Summary
	refused := 0
	for _, p := range list {
		if len(p.Errors) > 0 {
			refused++
			continue
		}
		sum.Create += p.Summary.Create - p.Summary.Replace
		sum.Update += p.Summary.Update + p.Summary.Replace
		sum.Delete += p.Summary.Delete - p.Summary.Replace
		sum.Restart += p.Summary.Restart
	}
	faults := Count(len(plans.Errors), "fault")
	changes := fmt.Sprintf("%d to create, %d to update, %d to delete, %d with restarts", sum.Create, sum.Update, sum.Delete, sum.Restart)
	none := sum.Create+sum.Update+sum.Delete == 0
	switch {
	case len(plans.Errors) > 0 && (refused == 0 || refused == len(list)):
		return "refused, nothing would be applied (" + faults + ")"
	case refused > 0 && none:
		return fmt.Sprintf("%d of %d Kustomizations refused (%s), and the others stay as they are", refused, len(list), faults)
	case refused > 0:
		return fmt.Sprintf("%d of %d Kustomizations refused (%s); of the others %s", refused, len(list), faults, changes)
	case none:
		return "no change"
	}
	return changes
}

// DiffText writes a comparison of commits.
func DiffText(out io.Writer, d wire.Plans) {
	colour := PaletteFor(out)
	list := perKustomization(d)
	shown := &actions{out: out, colour: colour}
	for _, p := range list {
		if len(list) > 1 {
			fmt.Fprintln(out, colour.dim("Kustomization "+p.Kustomization))
		}
		for _, a := range p.Actions {
			shown.print(a)
		}
	}
	if sum := d.Summary; sum.Create+sum.Update+sum.Delete == 0 && len(d.Errors) == 0 {
		fmt.Fprintln(out, "no difference")
	}
}
