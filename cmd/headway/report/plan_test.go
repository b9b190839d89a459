package report

import (
	"fmt"
	"strings"
	"testing"

	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/syncer/wire"
)

// shownPlan has a change of each sort.
func shownPlan() wire.Plans {
	var was, is []string
	for i := range 40 {
		was = append(was, fmt.Sprintf("setting-%d = on", i))
	}
	is = append(is, was...)
	is[2], is[30] = "setting-2 = off", "setting-30 = off"
	long := strings.Repeat("x", 600)
	one := wire.Plan{
		Kustomization: "headway-system/cluster", Base: "main@sha1:0123456789012345678901234567890123456789", Target: "more@sha1:9876543210987654321098765432109876543210",
		Summary: wire.Summary{Create: 3, Update: 2, Delete: 2, Replace: 1, Restart: 1},
		Actions: []wire.Action{
			{Action: "Create", Kind: "ConfigMap", Namespace: "shop", Name: "new", Object: map[string]any{
				"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "new", "namespace": "shop"},
				"data": map[string]any{"colour": "red", "motd": "Hello\nworld\n"},
			}},
			{Action: "Create", Kind: "Secret", Namespace: "shop", Name: "key", Object: map[string]any{
				"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "key", "namespace": "shop"}, "data": map[string]any{"password": "(hidden)"},
			}},
			{Action: "Create", Kind: "ConfigMap", Namespace: "shop", Name: "settings-4t2k7m5g9h", Replaces: "settings-542bbttdfm", Fields: []wire.Field{
				{Path: "data[app.ini]", Old: strings.Join(was, "\n") + "\n", New: strings.Join(is, "\n") + "\n"},
				{Path: "data.size", Old: "big", New: "small"},
			}},
			{Action: "Delete", Kind: "ConfigMap", Namespace: "shop", Name: "settings-542bbttdfm", ReplacedBy: "settings-4t2k7m5g9h"},
			{Action: "Update", Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web", Restart: true, Fields: []wire.Field{
				{Path: "spec.replicas", Old: 3.0, New: 5.0},
				{Path: "spec.template.spec.containers[name=web].args", Old: []any{"serve", "--verbose", "--listen=0.0.0.0:8080", "--cache=/var/cache/web"}, New: []any{"serve", "--listen=0.0.0.0:8080", "--cache=/var/cache/web", "--drain=5s"}},
				{Path: "metadata.annotations[note]", New: "one\ntwo\n"},
			}},
			{Action: "Update", Kind: "ConfigMap", Namespace: "shop", Name: "long", Fields: []wire.Field{{Path: "data.blob", Old: long + "OLD" + long, New: long + "NEW" + long}}},
			{Action: "Delete", Kind: "Service", Namespace: "shop", Name: "old"},
			{Action: "Skip", Kind: "ConfigMap", Name: "kept", Reason: "kustomize.toolkit.fluxcd.io/prune: disabled"},
		},
	}
	return wire.Plans{Plan: one}
}

// Each sort of change is shown so that a person sees what differs.
func TestPlanIsShown(t *testing.T) {
	var text, markdown strings.Builder
	PlanText(&text, shownPlan())
	PlanMarkdown(&markdown, shownPlan())
	headwaytest.Golden(t, "testdata/plan.txt", text.String())
	headwaytest.Golden(t, "testdata/plan.md", markdown.String())
	outsideCode(t, markdown.String())
	for _, shown := range []string{text.String(), markdown.String()} {
		if !strings.Contains(shown, "OLD") || !strings.Contains(shown, "NEW") {
			t.Errorf("what differs in a long line is not seen:\n%s", shown)
		}
	}
}

// However large values are, what is shown of them is bounded.
func TestPlanTextIsBounded(t *testing.T) {
	lines := strings.Repeat("same line\n", 200_000)
	plans := wire.Plans{Plan: wire.Plan{Actions: []wire.Action{{Action: "Update", Kind: "ConfigMap", Name: "big", Fields: []wire.Field{
		{Path: "data.a", Old: lines, New: lines + "one more\n"}, {Path: "data.b", New: lines}, {Path: "data.c", Old: strings.Repeat("y", 5<<20), New: "z"},
	}}}}}
	for range 500 {
		plans.Actions = append(plans.Actions, wire.Action{Action: "Create", Kind: "ConfigMap", Name: "new", Object: map[string]any{"data": lines[:10_000]}})
	}
	var text strings.Builder
	PlanText(&text, plans)
	if n := strings.Count(text.String(), "\n"); n > 4000 || text.Len() > 1<<20 {
		t.Errorf("%d lines, %d bytes", n, text.Len())
	}
	headwaytest.Shows(t, "the text", text.String(), "too many to compare", "more lines: -o json has all", "its content is left out")
}
