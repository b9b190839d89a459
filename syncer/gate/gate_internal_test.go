package gate

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/plan"
)

func actions(creates, deletes, restarts int) plan.Result {
	var res plan.Result
	for range creates {
		res.Actions = append(res.Actions, plan.Action{Type: plan.Create})
		res.Inventory = append(res.Inventory, object.Key{})
	}
	for range restarts {
		res.Actions = append(res.Actions, plan.Action{Type: plan.Update, Restart: true})
		res.Inventory = append(res.Inventory, object.Key{})
	}
	for range deletes {
		res.Actions = append(res.Actions, plan.Action{Type: plan.Delete})
	}
	return res
}

func TestGates(t *testing.T) {
	two := 2
	now := time.Date(2026, 6, 6, 12, 0, 0, 0, time.UTC)
	windows, err := flux.ParseWindows("0 18 * * FRI / 62h Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		bounds Bounds
		plan   plan.Result
		reach  Reach
		// want has a gate's name, ! before it if it is shut, and a part of
		// the message after it.
		want []string
	}{
		"none":                        {Bounds{}, actions(1, 9, 9), Reach{}, nil},
		"within":                      {Bounds{maxDeletes: &two, maxRestarts: &two}, actions(1, 2, 2), Reach{}, []string{"max-deletes ", "max-restarts "}},
		"too many deletes":            {Bounds{maxDeletes: &two}, actions(1, 3, 0), Reach{}, []string{`!max-deletes would delete 3 objects, and the annotation headway.dev/max-deletes allows 2; nothing was changed. If that is meant, set the annotation headway.dev/max-deletes: "3" on the Kustomization, or say so in a signed commit by the trailer Headway-Allow: deletes=3`}},
		"too many restarts":           {Bounds{maxRestarts: &two}, actions(1, 0, 3), Reach{}, []string{"!max-restarts would replace the pods of 3 workloads"}},
		"everything":                  {Bounds{}, actions(0, 3, 0), Reach{}, []string{"!max-deletes would delete all 3 objects"}},
		"everything, allowed":         {Bounds{}, actions(0, 3, 0), Reach{allow: allowance{deletes: 3}}, []string{"max-deletes allowed by the trailer"}},
		"everything, by annotation":   {Bounds{maxDeletes: &two}, actions(0, 2, 0), Reach{}, []string{"max-deletes "}},
		"allowed":                     {Bounds{maxDeletes: &two, maxRestarts: &two}, actions(1, 3, 4), Reach{allow: allowance{deletes: 3, restarts: 4}}, []string{"max-deletes allowed", "max-restarts allowed"}},
		"allowed too little":          {Bounds{maxDeletes: &two}, actions(1, 4, 0), Reach{allow: allowance{deletes: 3}}, []string{"!max-deletes would delete 4"}},
		"the other one allowed":       {Bounds{maxDeletes: &two}, actions(1, 3, 0), Reach{allow: allowance{restarts: 9, freeze: true}}, []string{"!max-deletes would delete 3"}},
		"an ignored trailer is told":  {Bounds{maxDeletes: &two}, actions(1, 3, 0), Reach{allow: allowance{ignored: []string{"it is ignored"}}}, []string{"!max-deletes else restore the files. it is ignored"}},
		"rollback":                    {Bounds{maxDeletes: &two, maxRestarts: &two, windows: windows}, actions(1, 9, 9), Reach{Rollback: true}, []string{"max-deletes takes back", "max-restarts takes back", "freeze a rollback"}},
		"frozen":                      {Bounds{windows: windows}, actions(1, 0, 0), Reach{}, []string{"!freeze Frozen until 2026-06-08T08:00:00+02:00 (headway.dev/freeze: 0 18 * * FRI / 62h Europe/Berlin)"}},
		"frozen, budget allowed":      {Bounds{windows: windows}, actions(1, 0, 0), Reach{allow: allowance{deletes: 9, freeze: true}}, []string{"!freeze Frozen until"}},
		"frozen, urgent":              {Bounds{windows: windows}, actions(1, 0, 0), Reach{Thaws: true}, []string{"freeze signed commit"}},
		"frozen, nothing to do":       {Bounds{windows: windows}, plan.Result{}, Reach{}, nil},
		"quarantined":                 {Bounds{quarantined: "abc"}, actions(1, 0, 0), Reach{}, []string{"!quarantine has failed"}},
		"another one is quarantined":  {Bounds{quarantined: "def"}, actions(1, 0, 0), Reach{}, nil},
		"quarantine has no exception": {Bounds{quarantined: "abc"}, actions(1, 0, 0), Reach{Rollback: true, Thaws: true}, []string{"!quarantine has failed"}},
	} {
		var got []string
		for i, g := range tc.bounds.Check(tc.plan, "abc", tc.reach, now) {
			mark := g.Name + " "
			if !g.Open {
				mark = "!" + mark
			}
			if i < len(tc.want) {
				if part, ok := strings.CutPrefix(tc.want[i], mark); ok && strings.Contains(g.Message, part) {
					mark += part
				} else {
					mark += g.Message
				}
			}
			got = append(got, mark)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

func TestAllowed(t *testing.T) {
	commits := []git.Commit{
		{SHA: "5", Message: "s\n\nHeadway-Allow: restarts=3\nHeadway-Allow: deletes=7 deletes=2\n"},
		{SHA: "4", Message: "s\n\nHeadway-Allow: deletes=40, freeze\n"}, // not signed
		{SHA: "3", Message: "s\n\nheadway-allow: deletes=4,restarts=1\n"},
		{SHA: "2", Message: "s\n\nHeadway-Allow: deletes, deletes=-1 deletes=x\n"},
		{SHA: "1", Message: "words\n"},
	}
	unsigned := errors.New("not signed")
	got := allowed(commits, func(sha string) error {
		if sha == "4" {
			return unsigned
		}
		return nil
	})
	want := allowance{deletes: 7, restarts: 3, ignored: []string{
		"the trailer Headway-Allow of commit 4 is ignored: not signed",
		`Headway-Allow: "deletes" is not understood: use deletes=N, restarts=N or freeze`,
		`Headway-Allow: "deletes=-1" is not understood: use deletes=N, restarts=N or freeze`,
		`Headway-Allow: "deletes=x" is not understood: use deletes=N, restarts=N or freeze`,
	}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(allowance{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
