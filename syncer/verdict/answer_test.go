package verdict

import (
	"testing"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/gate"
)

func TestRespond(t *testing.T) {
	good := Failing{Mode: flux.OnFailureRevert, Contained: true, State: State{Revision: "bad", Healthy: "good", before: flux.BeforeHealthy}}
	with := func(edit func(*Failing)) Failing {
		f := good
		edit(&f)
		return f
	}
	for name, tc := range map[string]struct {
		Failing
		want response
	}{
		"reverted":                {good, RespondRevert},
		"nothing known to be ok":  {with(func(f *Failing) { f.State.Healthy = "" }), RespondNot},
		"none":                    {with(func(f *Failing) { f.Mode = "none" }), RespondNot},
		"no annotation":           {with(func(f *Failing) { f.Mode = "" }), RespondNot},
		"hold":                    {with(func(f *Failing) { f.Mode = flux.OnFailureHold }), RespondHold},
		"hold, unhealthy before":  {with(func(f *Failing) { f.Mode, f.State.before = flux.OnFailureHold, flux.BeforeUnhealthy }), RespondNot},
		"hold, not judged before": {with(func(f *Failing) { f.Mode, f.State.before = flux.OnFailureHold, flux.BeforeUnjudged }), RespondHold},
		"hold, nothing good":      {with(func(f *Failing) { f.Mode, f.State.Healthy = flux.OnFailureHold, "" }), RespondNot},
		"hold of a revert":        {with(func(f *Failing) { f.Mode, f.Reverts = flux.OnFailureHold, true }), RespondHold},
		"first":                   {with(func(f *Failing) { f.State.before = flux.BeforeNothing }), RespondNot},
		"changed nothing":         {with(func(f *Failing) { f.State.before = flux.BeforeUnchanged }), RespondNot},
		"unhealthy before":        {with(func(f *Failing) { f.State.before = flux.BeforeUnhealthy }), RespondNot},
		"healthy once":            {with(func(f *Failing) { f.State.Healthy = "bad" }), RespondNot},
		"not judged before":       {with(func(f *Failing) { f.State.before = flux.BeforeUnjudged }), RespondRevert},
		"a revert":                {with(func(f *Failing) { f.Reverts = true }), RespondHold},
		"taken back":              {with(func(f *Failing) { f.TakenBack = "revert" }), RespondHold},
		"not allowed to":          {with(func(f *Failing) { f.Denied = gate.ErrNoVerify }), RespondHold},
		"no longer there":         {with(func(f *Failing) { f.Contained = false }), RespondHold},
		"cap":                     {with(func(f *Failing) { f.Recent = RevertsPerHour }), RespondHold},
		"below the cap":           {with(func(f *Failing) { f.Recent = RevertsPerHour - 1 }), RespondRevert},
		"cap, nothing good":       {with(func(f *Failing) { f.Recent, f.State.Healthy = RevertsPerHour, "" }), RespondNot},
	} {
		if got, why := tc.Respond(); got != tc.want {
			t.Errorf("%s: %s (%s), want %s", name, got, why, tc.want)
		}
	}
}
