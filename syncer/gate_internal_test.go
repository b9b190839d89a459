package syncer

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headway.dev/manifests/model/object"
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
	windows, err := freezeWindows("0 18 * * FRI / 62h Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		bounds bounds
		plan   plan.Result
		reach  reach
		// want has a gate's name, ! before it if it is shut, and a part of
		// the message after it.
		want []string
	}{
		"none":                        {bounds{}, actions(1, 9, 9), reach{}, nil},
		"within":                      {bounds{maxDeletes: &two, maxRestarts: &two}, actions(1, 2, 2), reach{}, []string{"max-deletes ", "max-restarts "}},
		"too many deletes":            {bounds{maxDeletes: &two}, actions(1, 3, 0), reach{}, []string{`!max-deletes would delete 3 objects, and the annotation headway.dev/max-deletes allows 2; nothing was changed. If that is meant, set the annotation headway.dev/max-deletes: "3" on the Kustomization, or say so in a signed commit by the trailer Headway-Allow: deletes=3`}},
		"too many restarts":           {bounds{maxRestarts: &two}, actions(1, 0, 3), reach{}, []string{"!max-restarts would replace the pods of 3 workloads"}},
		"everything":                  {bounds{}, actions(0, 3, 0), reach{}, []string{"!max-deletes would delete all 3 objects"}},
		"everything, allowed":         {bounds{}, actions(0, 3, 0), reach{allow: allowance{deletes: 3}}, []string{"max-deletes allowed by the trailer"}},
		"everything, by annotation":   {bounds{maxDeletes: &two}, actions(0, 2, 0), reach{}, []string{"max-deletes "}},
		"allowed":                     {bounds{maxDeletes: &two, maxRestarts: &two}, actions(1, 3, 4), reach{allow: allowance{deletes: 3, restarts: 4}}, []string{"max-deletes allowed", "max-restarts allowed"}},
		"allowed too little":          {bounds{maxDeletes: &two}, actions(1, 4, 0), reach{allow: allowance{deletes: 3}}, []string{"!max-deletes would delete 4"}},
		"the other one allowed":       {bounds{maxDeletes: &two}, actions(1, 3, 0), reach{allow: allowance{restarts: 9, freeze: true}}, []string{"!max-deletes would delete 3"}},
		"an ignored trailer is told":  {bounds{maxDeletes: &two}, actions(1, 3, 0), reach{allow: allowance{ignored: []string{"it is ignored"}}}, []string{"!max-deletes else restore the files. it is ignored"}},
		"rollback":                    {bounds{maxDeletes: &two, maxRestarts: &two, windows: windows}, actions(1, 9, 9), reach{rollback: true}, []string{"max-deletes takes back", "max-restarts takes back", "freeze a rollback"}},
		"frozen":                      {bounds{windows: windows}, actions(1, 0, 0), reach{}, []string{"!freeze Frozen until 2026-06-08T08:00:00+02:00 (headway.dev/freeze: 0 18 * * FRI / 62h Europe/Berlin)"}},
		"frozen, budget allowed":      {bounds{windows: windows}, actions(1, 0, 0), reach{allow: allowance{deletes: 9, freeze: true}}, []string{"!freeze Frozen until"}},
		"frozen, urgent":              {bounds{windows: windows}, actions(1, 0, 0), reach{thaws: true}, []string{"freeze signed commit"}},
		"frozen, nothing to do":       {bounds{windows: windows}, plan.Result{}, reach{}, nil},
		"quarantined":                 {bounds{quarantined: "abc"}, actions(1, 0, 0), reach{}, []string{"!quarantine has failed"}},
		"another one is quarantined":  {bounds{quarantined: "def"}, actions(1, 0, 0), reach{}, nil},
		"quarantine has no exception": {bounds{quarantined: "abc"}, actions(1, 0, 0), reach{rollback: true, thaws: true}, []string{"!quarantine has failed"}},
	} {
		var got []string
		for i, g := range tc.bounds.judge(tc.plan, "abc", tc.reach, now) {
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

func TestRespond(t *testing.T) {
	good := failing{mode: onFailureRevert, contained: true, state: state{revision: "bad", healthy: "good", before: beforeHealthy}}
	with := func(edit func(*failing)) failing {
		f := good
		edit(&f)
		return f
	}
	for name, tc := range map[string]struct {
		failing
		want response
	}{
		"reverted":                {good, respondRevert},
		"nothing known to be ok":  {with(func(f *failing) { f.healthy = "" }), respondNot},
		"none":                    {with(func(f *failing) { f.mode = "none" }), respondNot},
		"no annotation":           {with(func(f *failing) { f.mode = "" }), respondNot},
		"hold":                    {with(func(f *failing) { f.mode = onFailureHold }), respondHold},
		"hold, unhealthy before":  {with(func(f *failing) { f.mode, f.before = onFailureHold, beforeUnhealthy }), respondNot},
		"hold, not judged before": {with(func(f *failing) { f.mode, f.before = onFailureHold, beforeUnjudged }), respondHold},
		"hold, nothing good":      {with(func(f *failing) { f.mode, f.healthy = onFailureHold, "" }), respondNot},
		"hold of a revert":        {with(func(f *failing) { f.mode, f.reverts = onFailureHold, true }), respondHold},
		"first":                   {with(func(f *failing) { f.before = beforeNothing }), respondNot},
		"changed nothing":         {with(func(f *failing) { f.before = beforeUnchanged }), respondNot},
		"unhealthy before":        {with(func(f *failing) { f.before = beforeUnhealthy }), respondNot},
		"healthy once":            {with(func(f *failing) { f.healthy = "bad" }), respondNot},
		"not judged before":       {with(func(f *failing) { f.before = beforeUnjudged }), respondRevert},
		"a revert":                {with(func(f *failing) { f.reverts = true }), respondHold},
		"not allowed to":          {with(func(f *failing) { f.denied = errNoVerify }), respondHold},
		"no longer there":         {with(func(f *failing) { f.contained = false }), respondHold},
		"cap":                     {with(func(f *failing) { f.recent = revertsPerHour }), respondHold},
		"below the cap":           {with(func(f *failing) { f.recent = revertsPerHour - 1 }), respondRevert},
		"cap, nothing good":       {with(func(f *failing) { f.recent, f.healthy = revertsPerHour, "" }), respondNot},
	} {
		if got, why := tc.respond(); got != tc.want {
			t.Errorf("%s: %s (%s), want %s", name, got, why, tc.want)
		}
	}
}
