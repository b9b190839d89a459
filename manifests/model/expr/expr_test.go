package expr_test

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/kustomize"

	"headway.dev/manifests/model/expr"
	"headway.dev/manifests/model/health"
)

func TestCondition(t *testing.T) {
	dep := map[string]any{"metadata": map[string]any{"generation": int64(2), "labels": map[string]any{"app": "db"}}, "status": map[string]any{"observedGeneration": int64(2)}}
	for source, want := range map[string]bool{
		"dep.metadata.generation == dep.status.observedGeneration":           true,
		"dep.metadata.labels.app.startsWith('web')":                          false,
		"dep.metadata.labels['app'] == self.metadata.labels['app']":          true,
		"dep.status.?conditions.orValue([]).exists(c, c.type == 'Ready')":    false,
		"dep.metadata.generation > 1.5 && !has(dep.metadata.labels.missing)": true,
	} {
		c, err := expr.Compile(source, "dep", "self")
		if err != nil {
			t.Errorf("Compile(%s): %v", source, err)
			continue
		}
		if got, err := c.Holds(map[string]any{"dep": dep, "self": dep}); err != nil || got != want {
			t.Errorf("%s = %v, %v, want %v", source, got, err, want)
		}
	}
}

func TestBadConditions(t *testing.T) {
	for source, want := range map[string]string{
		"dep.":                           "failed to parse expression",
		"other == 1":                     "undeclared reference to 'other'",
		"1 + 1":                          "expected bool, got int",
		strings.Repeat("true && ", 2000): "longer than",
		"dep.name.matches('(')":          "failed to parse expression",
	} {
		if _, err := expr.Compile(source, "dep"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Compile(%.30q) = %v, want it to say %q", source, err, want)
		}
	}
	c, err := expr.Compile("dep.name.size() > 0", "dep")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Holds(map[string]any{"dep": map[string]any{}}); err == nil {
		t.Error("a field that is not there is no error")
	}
}

// An expression of a repository must not keep the syncer busy.
func TestCostIsBounded(t *testing.T) {
	list := "[1,2,3,4,5,6,7,8,9,10]"
	source := "true"
	for v := range strings.FieldsSeq("a b c d e f g h i j k") {
		source = list + ".all(" + v + ", " + source + ")"
	}
	c, err := expr.Compile(source)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Holds(nil); err == nil || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("10^11 steps end with %v, want the cost limit", err)
	}
}

func TestHealth(t *testing.T) {
	h, err := expr.CompileHealth(kustomize.HealthCheckExpressions{
		Current:    "status.phase == 'Done'",
		Failed:     "status.phase == 'Broken'",
		InProgress: "status.phase == 'Busy'",
	})
	if err != nil {
		t.Fatal(err)
	}
	object := func(phase string, observed int64) map[string]any {
		return map[string]any{"metadata": map[string]any{"generation": int64(2)}, "status": map[string]any{"phase": phase, "observedGeneration": observed}}
	}
	for _, c := range []struct {
		object map[string]any
		want   health.Status
	}{
		{object("Done", 2), health.Current},
		{object("Broken", 2), health.Failed},
		{object("Busy", 2), health.InProgress},
		{object("Other", 2), health.InProgress},
		{object("Done", 1), health.InProgress},
		{map[string]any{"metadata": map[string]any{}}, health.InProgress},
		{map[string]any{"metadata": map[string]any{"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": map[string]any{"phase": "Done"}}, health.Terminating},
	} {
		if got := h.Of(c.object); got.Status != c.want {
			t.Errorf("Of(%v) = %+v, want %s", c.object, got, c.want)
		}
	}
	if _, err := expr.CompileHealth(kustomize.HealthCheckExpressions{Failed: "true"}); err == nil {
		t.Error("an entry without current compiles")
	}
}
