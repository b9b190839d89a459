package syncer

import (
	"testing"

	"headway.dev/syncer/gate"
)

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
		"not allowed to":          {with(func(f *failing) { f.denied = gate.ErrNoVerify }), respondHold},
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
