package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"headway.dev/syncer/wire"
)

const (
	// maxComment bounds a plan in Markdown, in bytes: GitHub refuses comments
	// of more than 65,536 characters.
	maxComment = 60 << 10
	// maxCell bounds one value in it, in characters.
	maxCell = 300
)

// planMarkdown writes a plan as a comment on a pull request: a summary that is
// always whole, and details that are cut where they get too long. Everything
// in it that a repository can choose is shown as code, in a form that cannot
// end the code: no name or value can mention people, make links or tags, or
// break the table.
func planMarkdown(out io.Writer, plans wire.Plans) {
	doc := &comment{}
	verdict := "✅"
	switch {
	case len(plans.Errors) > 0:
		verdict = "❌"
	case warns(plans.Checks):
		verdict = "⚠️"
	}
	doc.always("### %s Headway plan: %s\n\n", verdict, planSummary(plans.Summary))
	switch {
	case plans.Base != "":
		doc.always("%s → %s\n", code(shortRevision(plans.Base)), code(shortRevision(plans.Target)))
	case plans.Target != "":
		doc.always("%s\n", code(shortRevision(plans.Target)))
	}
	list := perKustomization(plans)
	doc.always("\n| Kustomization | create | update | delete | restart | faults |\n|---|--:|--:|--:|--:|--:|\n")
	for i, p := range list {
		if i == 100 {
			doc.always("| and %d more | | | | | |\n", len(list)-i)
			break
		}
		s := p.Summary
		doc.always("| %s | %d | %d | %d | %d | %d |\n", code(p.Kustomization), s.Create, s.Update, s.Delete, s.Restart, len(p.Errors))
	}
	doc.faults(plans.Errors)
	doc.checks(plans.Checks, len(list) > 1)
	for _, p := range list {
		doc.rollouts(p)
		doc.objects(p)
	}
	fmt.Fprint(out, doc.String())
}

func warns(checks []wire.Check) bool {
	for _, c := range checks {
		if c.Result != wire.CheckPassed {
			return true
		}
	}
	return false
}

// comment is a text of bounded size.
type comment struct {
	strings.Builder
	left int // lines that found no room
}

// always writes what the summary needs; it is short by its nature.
func (c *comment) always(format string, args ...any) { fmt.Fprintf(c, format, args...) }

// details writes a collapsed block, cut at a line where the text gets too
// long.
func (c *comment) details(title, head string, lines []string) {
	if len(lines) == 0 {
		return
	}
	const end = "\n</details>\n"
	const reserve = 200 // for the end, and for saying what is left out
	start := fmt.Sprintf("\n<details><summary>%s</summary>\n\n%s", title, head)
	if c.Len()+len(start)+len(lines[0])+reserve > maxComment {
		c.left += len(lines)
		c.note()
		return
	}
	c.WriteString(start)
	for i, line := range lines {
		if c.Len()+len(line)+reserve > maxComment {
			fmt.Fprintf(c, "\n%d more lines are left out: run `headway plan` for all.\n", len(lines)-i)
			break
		}
		c.WriteString(line)
	}
	c.WriteString(end)
}

// note says once that blocks are left out.
func (c *comment) note() {
	const text = "\nMore is left out: run `headway plan` for all.\n"
	if c.Len()+len(text) <= maxComment && !strings.HasSuffix(c.String(), text) {
		c.WriteString(text)
	}
}

func (c *comment) faults(faults []wire.Fault) {
	if len(faults) == 0 {
		return
	}
	c.always("\n**Nothing of this would be applied:**\n\n")
	for i, f := range faults {
		if i == 20 {
			c.always("- and %s more\n", count(len(faults)-i, "fault"))
			break
		}
		c.always("- %s\n", code(f.Message))
	}
}

func (c *comment) checks(checks []wire.Check, several bool) {
	var open, passed []string
	for _, check := range checks {
		who := ""
		if several {
			who = code(check.Kustomization) + " "
		}
		line := fmt.Sprintf("- %s%s: %s\n", who, code(check.Name), code(check.Message))
		switch {
		case check.Result == wire.CheckPassed:
			passed = append(passed, "- ✅ "+line[2:])
		case check.Result == wire.CheckFailed && check.Name == "validation":
			// Told above, fault by fault.
		case check.Result == wire.CheckFailed:
			open = append(open, "- ❌ "+line[2:])
		default:
			open = append(open, "- ⚠️ "+line[2:])
		}
	}
	if len(open) > 0 {
		c.always("\n")
	}
	for i, line := range open {
		if i == 20 {
			c.always("- and %s more\n", count(len(open)-i, "warning"))
			break
		}
		c.always("%s", line)
	}
	c.details("Checks passed", "", passed)
}

func (c *comment) rollouts(p wire.Plan) {
	var lines []string
	for _, r := range p.Rollouts {
		lines = append(lines, fmt.Sprintf("| %s | %s | %s |\n", code(objectName(r.Kind, r.Namespace, r.Name)), code(rolloutWords(r)), scheduleWords(r)))
	}
	c.details(fmt.Sprintf("Pods of %s (%d)", codeHTML(p.Kustomization), len(lines)), "| workload | pods | nodes |\n|---|---|---|\n", lines)
}

// scheduleWords tells where the new pods would run.
func scheduleWords(r wire.Rollout) string {
	switch r.Schedule {
	case wire.ScheduleFits:
		return "fit"
	case wire.ScheduleFitsLate:
		return fmt.Sprintf("fit, %d where old pods leave", r.Late)
	case wire.ScheduleStuck:
		return fmt.Sprintf("**stuck**: %d wait for old pods that wait for them", r.Pending)
	case wire.ScheduleUnschedulable:
		return fmt.Sprintf("**%d do not fit**", r.Pending)
	}
	return ""
}

func (c *comment) objects(p wire.Plan) {
	var lines []string
	objects := 0
	for _, a := range p.Actions {
		action := strings.ToLower(a.Action)
		switch {
		case a.Recreate:
			action = "recreate"
		case a.Restart:
			action += ", replaces pods"
		case a.Action == "Skip":
			action = "leave: " + code(a.Reason)
		}
		objects++
		lines = append(lines, fmt.Sprintf("| %s | %s | | | |\n", action, code(objectName(a.Kind, a.Namespace, a.Name))))
		for _, f := range a.Fields {
			lines = append(lines, fmt.Sprintf("| | | %s | %s | %s |\n", code(f.Path), code(planValue(f.Old)), code(planValue(f.New))))
		}
	}
	title := fmt.Sprintf("Objects of %s (%d)", codeHTML(p.Kustomization), objects)
	c.details(title, "| action | object | field | old | new |\n|---|---|---|---|---|\n", lines)
}

// code shows hostile text as code in one line, also within a table: a fence of
// backticks longer than any in it, no line break, no bar, nothing invisible.
func code(text string) string {
	text = visible(text)
	longest, run := 0, 0
	for _, r := range text {
		if r == '`' {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	fence := strings.Repeat("`", longest+1)
	pad := ""
	if text == "" || strings.HasPrefix(text, "`") || strings.HasSuffix(text, "`") || strings.HasPrefix(text, " ") {
		pad = " "
	}
	return fence + pad + text + pad + fence
}

// codeHTML is code where Markdown is not read: in a summary.
func codeHTML(text string) string {
	return "<code>" + strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "&#64;", "`", "&#96;", `"`, "&quot;").Replace(visible(text)) + "</code>"
}

// visible bounds a text, and replaces what ends lines and cells or turns the
// direction of writing. The bar becomes one that looks like it: within a table
// some renderers end the cell at an escaped bar, too.
func visible(text string) string {
	text = strings.ToValidUTF8(text, "�")
	if utf8.RuneCountInString(text) > maxCell {
		text = string([]rune(text)[:maxCell]) + "…"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029':
			return '⏎'
		case r == '|':
			return '¦'
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return '�'
		}
		return r
	}, text)
}
