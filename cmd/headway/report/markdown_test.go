package report

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"headway.dev/syncer/wire"
)

// hostile are values that a repository may hold, to leave their place with.
var hostile = []string{
	"@team please look", "a|b|c", "`code` @team", "```\n@team\n```", "``", "</details>\n\n# Merge this", "<img src=https://evil.example/x>",
	"[link](https://evil.example)", "line\r\n- @team", "\u202etxt", "\x1b[31mred", "x\u2028@team", "<!-- headway plan of headway-system/cluster -->", "\\", "`\\", "&#64;team", strings.Repeat("`", 400),
}

func hostilePlan() wire.Plans {
	one := wire.Plan{Kustomization: "ns/`@team`</code>@team", Base: "main|@team@sha1:0123456789012345678901234567890123456789", Target: "`@team`\n@team@sha1:0123456789012345678901234567890123456789", Summary: wire.Summary{Update: len(hostile)}}
	for _, text := range hostile {
		one.Actions = append(one.Actions, wire.Action{Action: "Update", Kind: "ConfigMap", Namespace: text, Name: text, Fields: []wire.Field{{Path: text, Old: text, New: []any{text}}}},
			wire.Action{Action: "Create", Kind: "ConfigMap", Name: text, Object: map[string]any{text: text, "list": []any{text}}},
			wire.Action{Action: "Create", Kind: "ConfigMap", Name: text, Replaces: text, Fields: []wire.Field{{Path: text, New: text}}},
			wire.Action{Action: "Update", Kind: "ConfigMap", Name: text, Fields: []wire.Field{{Path: text, Old: text + "\nline\n", New: "line\n" + text}}},
			wire.Action{Action: "Skip", Kind: "ConfigMap", Name: "x", Reason: text})
		one.Errors = append(one.Errors, wire.Fault{File: text, Message: text, Reason: text})
		one.Rollouts = append(one.Rollouts, wire.Rollout{Kind: "Deployment", Name: text, Replaced: []string{text}, New: 1, Note: text, Schedule: wire.ScheduleStuck, Message: text})
		one.Checks = append(one.Checks, wire.Check{Name: text, Result: wire.CheckWarning, Message: text}, wire.Check{Name: text, Result: wire.CheckPassed, Message: text})
	}
	all := wire.Plans{Plan: one, Plans: []wire.Plan{one, one}}
	return all
}

// outsideFences is Markdown without its blocks of code, which end at the first
// line of as many backticks.
func outsideFences(tb testing.TB, text string) string {
	tb.Helper()
	var out strings.Builder
	opening := regexp.MustCompile("^(`{3,})[a-z]*$")
	fence := ""
	for line := range strings.Lines(text) {
		bare := strings.TrimSuffix(line, "\n")
		trimmed := strings.TrimLeft(bare, " ")
		switch match := opening.FindStringSubmatch(bare); {
		case fence == "" && match != nil:
			fence = match[1]
		case fence == "":
			out.WriteString(line)
		case len(bare)-len(trimmed) < 4 && len(trimmed) >= len(fence) && strings.Trim(trimmed, "`") == "":
			fence = ""
		}
	}
	if fence != "" {
		tb.Fatalf("a block of code that does not end:\n%s", text)
	}
	return out.String()
}

// outsideCode is Markdown without its code spans, paired as CommonMark does: a
// span ends at the next run of as many backticks as began it.
func outsideCode(tb testing.TB, text string) string {
	tb.Helper()
	text = outsideFences(tb, text)
	var out strings.Builder
	run := regexp.MustCompile("`+")
	for text != "" {
		at := run.FindStringIndex(text)
		if at == nil {
			out.WriteString(text)
			break
		}
		out.WriteString(text[:at[0]])
		fence, rest := text[at[0]:at[1]], text[at[1]:]
		end := -1
		for _, m := range run.FindAllStringIndex(rest, -1) {
			if m[1]-m[0] == len(fence) {
				end = m[1]
				break
			}
		}
		if end < 0 || strings.Contains(rest[:end], "\n") {
			tb.Fatalf("a code span that does not end in its line: %.200q", text)
		}
		text = rest[end:]
	}
	return out.String()
}

// Nothing that a repository holds leaves its code span: it mentions nobody,
// links nowhere, ends no table, fold or line.
func TestPlanMarkdownIsSafe(t *testing.T) {
	var out strings.Builder
	PlanMarkdown(&out, hostilePlan())
	text := regexp.MustCompile(`<code>[^<>@]*</code>`).ReplaceAllString(outsideCode(t, out.String()), "")
	for _, bad := range []string{"@", "team", "evil", "img", "<!--", "# Merge", "\u202e", "\u2028", "\x1b", "\r"} {
		if strings.Contains(text, bad) {
			t.Errorf("%q stands outside of code:\n%s", bad, text)
		}
	}
	if a, b := strings.Count(outsideFences(t, out.String()), "<details>"), strings.Count(outsideFences(t, out.String()), "\n</details>\n"); a != b || a == 0 {
		t.Errorf("%d folds begin and %d end", a, b)
	}
	for line := range strings.SplitSeq(out.String(), "\n") {
		if strings.HasPrefix(line, "|") && !strings.HasSuffix(line, "|") {
			t.Errorf("a row that does not end: %q", line)
		}
	}
}

// However much changes, the comment fits, and its summary and folds are whole.
func TestPlanMarkdownIsBounded(t *testing.T) {
	one := wire.Plan{Kustomization: "headway-system/cluster", Summary: wire.Summary{Update: 5000}}
	for i := range 5000 {
		name := fmt.Sprintf("config-%04d-%s", i, strings.Repeat("ü", 200))
		one.Actions = append(one.Actions, wire.Action{Action: "Update", Kind: "ConfigMap", Name: name, Fields: []wire.Field{{Path: "data." + name, Old: name, New: name}}})
		one.Rollouts = append(one.Rollouts, wire.Rollout{Kind: "Deployment", Name: name, New: 1})
		one.Errors = append(one.Errors, wire.Fault{Message: strings.Repeat(name, 10)})
		one.Checks = append(one.Checks, wire.Check{Name: name, Result: wire.CheckWarning, Message: strings.Repeat(name, 10)}, wire.Check{Name: name, Result: wire.CheckPassed, Message: name})
	}
	many := wire.Plans{Plan: one}
	for range 300 {
		many.Plans = append(many.Plans, one)
	}
	for name, plans := range map[string]wire.Plans{"one": {Plan: one}, "many": many, "empty": {}} {
		var out strings.Builder
		PlanMarkdown(&out, plans)
		text := out.String()
		if len(text) > maxComment || a(text, "<details>") != a(text, "\n</details>\n") {
			t.Errorf("%s: %d bytes, %d folds begin and %d end", name, len(text), a(text, "<details>"), a(text, "\n</details>\n"))
		}
		if name != "empty" && (!strings.Contains(text, "(5000 faults)") || !strings.Contains(text, "headway plan` for all")) {
			t.Errorf("%s: the summary or the note about what is left out is missing:\n%.2000s", name, text)
		}
		outsideCode(t, text)
	}
}

func a(text, part string) int { return strings.Count(text, part) }
