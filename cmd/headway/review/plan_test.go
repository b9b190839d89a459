package review

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"headway.dev/cmd/headway/cli"
	"headway.dev/syncer/wire"
)

// A commit that is refused changes nothing, and no line of its plan says that
// this were fine; what of it is not refused is told.
func TestPlanOfARefusedCommit(t *testing.T) {
	fault := wire.Fault{File: "a.yaml", Line: 3, Message: "a.yaml:3: wrong"}
	broken := wire.Plan{Kustomization: "headway-system/broken", Target: "main@sha1:0123456789012345678901234567890123456789", Errors: []wire.Fault{fault}}
	half := broken
	half.Summary = wire.Summary{Create: 4, Restart: 1}
	fine := wire.Plan{Kustomization: "headway-system/fine", Summary: wire.Summary{Update: 1}}
	still := wire.Plan{Kustomization: "headway-system/still"}
	for _, c := range []struct {
		name  string
		plans []wire.Plan
		want  string
	}{
		{"cannot be rendered", []wire.Plan{broken}, "refused, nothing would be applied (1 fault)"},
		{"one object is at fault", []wire.Plan{half}, "refused, nothing would be applied (1 fault)"},
		{"all", []wire.Plan{half, broken}, "refused, nothing would be applied (2 faults)"},
		{"beside a change", []wire.Plan{half, fine}, "1 of 2 Kustomizations refused (1 fault); of the others 0 to create, 1 to update, 0 to delete, 0 with restarts"},
		{"beside none", []wire.Plan{broken, still}, "1 of 2 Kustomizations refused (1 fault), and the others stay as they are"},
	} {
		all := wire.Plans{Plan: wire.Plan{Target: broken.Target}, Plans: c.plans}
		for _, p := range c.plans {
			all.Errors = append(all.Errors, p.Errors...)
			all.Summary.Create += p.Summary.Create
			all.Summary.Update += p.Summary.Update
		}
		if len(c.plans) == 1 {
			all.Plan, all.Plans = c.plans[0], nil
		}
		for _, format := range []string{"text", "markdown"} {
			var out, errOut bytes.Buffer
			err := showPlan(&cli.Options{Out: &out, Err: &errOut}, all, cli.Format{Value: format})
			if code := (cli.ExitError{}); !errors.As(err, &code) || code.Code != cli.ExitFailed {
				t.Errorf("%s, %s: it ends with %v, want exit code %d", c.name, format, err, cli.ExitFailed)
			}
			if strings.Contains(out.String(), "no change") || !strings.Contains(out.String(), ": "+c.want+"\n") {
				t.Errorf("%s, %s: want %q in\n%s", c.name, format, c.want, out.String())
			}
		}
	}
}
