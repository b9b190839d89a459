package report

import (
	"fmt"
	"io"
	"iter"
	"slices"
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

// PlanMarkdown writes a plan as a comment on a pull request: a summary that is
// always complete, and details that are cut if they get too long. Everything in
// it that a repository can choose is shown as code, in a form that cannot end
// the code: no name or value can mention people, make links or tags, or break
// the table.
func PlanMarkdown(out io.Writer, plans wire.Plans) {
	doc := &comment{}
	verdict := "✅"
	switch {
	case len(plans.Errors) > 0:
		verdict = "❌"
	case warns(plans.Checks):
		verdict = "⚠️"
	}
	doc.always("### %s Headway plan: %s\n\n", verdict, planSummary(plans))
	switch {
	case plans.Base != "":
		doc.always("%s → %s\n", InlineCode(ShortRevision(plans.Base)), InlineCode(ShortRevision(plans.Target)))
	case plans.Target != "":
		doc.always("%s\n", InlineCode(ShortRevision(plans.Target)))
	}
	list := perKustomization(plans)
	doc.always("\n| Kustomization | create | update | delete | restart | faults |\n|---|--:|--:|--:|--:|--:|\n")
	for i, p := range list {
		if i == 100 {
			doc.always("| and %d more | | | | | |\n", len(list)-i)
			break
		}
		s := p.Summary
		doc.always("| %s | %d | %d | %d | %d | %d |\n", InlineCode(p.Kustomization), s.Create-s.Replace, s.Update+s.Replace, s.Delete-s.Replace, s.Restart, len(p.Errors))
	}
	doc.faults(plans)
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
type comment struct{ strings.Builder }

// always writes what the summary needs; it is short by its nature.
func (c *comment) always(format string, args ...any) { fmt.Fprintf(c, format, args...) }

// details writes a collapsed block of n lines, cut at a line where the text
// gets too long. Lines that find no room are not asked for: a plan may have
// millions.
func (c *comment) details(title, head string, n int, lines iter.Seq[string]) {
	const end = "\n</details>\n"
	const reserve = 200 // for the end, and for saying what is left out
	start := fmt.Sprintf("\n<details><summary>%s</summary>\n\n%s", title, head)
	written := 0
	for line := range lines {
		if written == 0 {
			if c.Len()+len(start)+len(line)+reserve > maxComment {
				c.note()
				return
			}
			c.WriteString(start)
		}
		if c.Len()+len(line)+reserve > maxComment {
			fmt.Fprintf(c, "\n%d more are left out: run `headway plan` for all.\n", n-written)
			break
		}
		c.WriteString(line)
		written++
	}
	if written > 0 {
		c.WriteString(end)
	}
}

// note says once that blocks are left out.
func (c *comment) note() {
	const text = "\nMore is left out: run `headway plan` for all.\n"
	if c.Len()+len(text) <= maxComment && !strings.HasSuffix(c.String(), text) {
		c.WriteString(text)
	}
}

func (c *comment) faults(plans wire.Plans) {
	faults := plans.Errors
	if len(faults) == 0 {
		return
	}
	list := perKustomization(plans)
	title := "Nothing of this would be applied:"
	if slices.ContainsFunc(list, func(p wire.Plan) bool { return len(p.Errors) == 0 }) {
		title = "Nothing would be applied of the Kustomizations with faults:"
	}
	c.always("\n**%s**\n\n", title)
	for i, f := range faults {
		if i == 20 {
			c.always("- and %s more\n", Count(len(faults)-i, "fault"))
			break
		}
		c.always("- %s\n", InlineCode(f.Message))
	}
}

func (c *comment) checks(checks []wire.Check, several bool) {
	line := func(icon string, check wire.Check) string {
		who := ""
		if several {
			who = InlineCode(check.Kustomization) + " "
		}
		return fmt.Sprintf("- %s %s%s: %s\n", icon, who, InlineCode(check.Name), InlineCode(check.Message))
	}
	var open, passed []wire.Check
	for _, check := range checks {
		switch {
		case check.Result == wire.CheckPassed:
			passed = append(passed, check)
		case check.Result == wire.CheckFailed && check.Name == "validation":
			// Reported above, fault by fault.
		default:
			open = append(open, check)
		}
	}
	if len(open) > 0 {
		c.always("\n")
	}
	for i, check := range open {
		if i == 20 {
			c.always("- and %s more\n", Count(len(open)-i, "warning"))
			break
		}
		icon := "⚠️"
		if check.Result == wire.CheckFailed {
			icon = "❌"
		}
		c.always("%s", line(icon, check))
	}
	c.details("Checks passed", "", len(passed), func(yield func(string) bool) {
		for _, check := range passed {
			if !yield(line("✅", check)) {
				return
			}
		}
	})
}

func (c *comment) rollouts(p wire.Plan) {
	title := fmt.Sprintf("Pods of %s (%d)", codeHTML(p.Kustomization), len(p.Rollouts))
	c.details(title, "| workload | pods | nodes |\n|---|---|---|\n", len(p.Rollouts), func(yield func(string) bool) {
		for _, r := range p.Rollouts {
			if !yield(fmt.Sprintf("| %s | %s | %s |\n", InlineCode(ObjectName(r.Kind, r.Namespace, r.Name)), InlineCode(rolloutWords(r)), scheduleWords(r))) {
				return
			}
		}
	})
}

// scheduleWords describes where the new pods would run.
func scheduleWords(r wire.Rollout) string {
	preempted, refused := "", ""
	if r.Refused > 0 {
		refused = fmt.Sprintf("**%d would be refused**", r.Refused)
		if r.Refused == r.New {
			return refused
		}
		refused += ", the others "
	}
	if n := len(r.Preempts) + r.PreemptsMore; n > 0 {
		preempted = fmt.Sprintf(", **%s preempted**", Count(n, "pod"))
	}
	switch r.Schedule {
	case wire.ScheduleFits:
		return refused + "fit"
	case wire.ScheduleFitsLate:
		return refused + fmt.Sprintf("fit, %d where old pods leave", r.Late)
	case wire.SchedulePreempts:
		return refused + "fit" + preempted
	case wire.ScheduleStuck:
		return refused + fmt.Sprintf("**stuck**: %d wait for old pods that wait for them", r.Pending) + preempted
	case wire.ScheduleUnschedulable:
		return refused + fmt.Sprintf("**%d do not fit**", r.Pending) + preempted
	}
	return ""
}

// maxBlock bounds what is shown of one object, in bytes, and maxBlockLines in
// lines for a field or a new object.
const (
	maxBlock      = 8 << 10
	maxBlockLines = 60
)

func (c *comment) objects(p wire.Plan) {
	blocks := 0
	for _, a := range p.Actions {
		if a.ReplacedBy == "" {
			blocks++
		}
	}
	title := fmt.Sprintf("Objects of %s (%d)", codeHTML(p.Kustomization), blocks)
	c.details(title, "", blocks, func(yield func(string) bool) {
		for _, a := range p.Actions {
			if a.ReplacedBy == "" && !yield(objectBlock(a)) {
				return
			}
		}
	})
}

// objectBlock is what becomes of one object: a line, and below it the fields
// that differ or, folded, what a new one holds.
func objectBlock(a wire.Action) string {
	name := ObjectName(a.Kind, a.Namespace, a.Name)
	switch {
	case a.Action == "Create" && a.Object != nil:
		return fmt.Sprintf("<details><summary>create %s</summary>\n\n%s\n</details>\n\n", codeHTML(name), fenced("yaml", objectLines(a.Object, maxBlockLines)))
	case a.Replaces != "":
		name = ObjectName(a.Kind, a.Namespace, a.Replaces)
		return fmt.Sprintf("update %s, which becomes %s\n\n%s\n", InlineCode(name), InlineCode(a.Name), fenced("diff", blockFields(a.Fields)))
	case len(a.Fields) > 0:
		return fmt.Sprintf("%s: %s\n\n%s\n", actionWords(a), InlineCode(name), fenced("diff", blockFields(a.Fields)))
	}
	return fmt.Sprintf("%s: %s\n\n", actionWords(a), InlineCode(name))
}

// blockFields are the lines of a diff of all fields.
func blockFields(fields []wire.Field) []string {
	var lines []string
	for _, f := range fields {
		lines = append(lines, "@@ "+printable(strings.ReplaceAll(f.Path, "\n", "⏎"))+" @@")
		lines = append(lines, fieldLines(f, maxBlockLines)...)
	}
	return lines
}

// fenced is a block of code that none of its lines can end, of bounded size.
func fenced(language string, lines []string) string {
	var text strings.Builder
	for i, line := range lines {
		if text.Len()+len(line) > maxBlock {
			fmt.Fprintf(&text, "… %s: headway plan shows all\n", Count(len(lines)-i, "more line"))
			break
		}
		text.WriteString(cutLine(printable(line), 0) + "\n")
	}
	fence := strings.Repeat("`", max(3, longestRun(text.String())+1))
	return fence + language + "\n" + text.String() + fence + "\n"
}

// longestRun is the longest run of backticks in a text.
func longestRun(text string) int {
	longest, run := 0, 0
	for _, r := range text {
		if r == '`' {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	return longest
}

func actionWords(a wire.Action) string {
	action := strings.ToLower(a.Action)
	switch {
	case a.Recreate:
		return "recreate"
	case a.Restart:
		return action + ", replaces pods"
	case a.Action == "Skip":
		return "leave: " + InlineCode(a.Reason)
	case a.Reason != "":
		return action + ": " + InlineCode(a.Reason)
	}
	return action
}

// InlineCode shows hostile text as code in one line, also within a table: a fence of
// backticks longer than any in it, no line break, no bar, nothing invisible.
func InlineCode(text string) string {
	text = visible(text)
	fence := strings.Repeat("`", longestRun(text)+1)
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
	if most := (maxCell + 1) * utf8.UTFMax; len(text) > most {
		text = text[:most] // more is not looked at
	}
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
