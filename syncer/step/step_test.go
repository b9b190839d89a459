package step_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"headway.dev/syncer/step"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// settled is what a loop observes that has nothing to do.
func settled() step.Observed {
	a := step.Attempt{Revision: "main@sha1:1", Generation: 3, Settings: "x"}
	return step.Observed{Want: a, Attempted: a, Now: now, Due: now.Add(time.Minute)}
}

func TestNext(t *testing.T) {
	with := func(edits ...func(*step.Observed)) step.Observed {
		o := settled()
		for _, edit := range edits {
			edit(&o)
		}
		return o
	}
	gone := func(o *step.Observed) { o.Gone = true }
	deleting := func(o *step.Observed) { o.Deleting = true }
	suspended := func(o *step.Observed) { o.Suspended = true }
	waiting := func(o *step.Observed) { o.Waiting = true }
	changed := func(o *step.Observed) { o.Changed = true }
	blocked := func(o *step.Observed) { o.Blocked = errors.New("dependency 'a/b' is not ready") }
	failed := func(o *step.Observed) { o.Failed = true }
	drift := func(o *step.Observed) { o.Drift = true }
	retry := func(o *step.Observed) { o.Retry = true }
	due := func(o *step.Observed) { o.Due = o.Now }
	quarantined := func(o *step.Observed) { o.Quarantined = true }
	want := func(edit func(*step.Attempt)) func(*step.Observed) {
		return func(o *step.Observed) { edit(&o.Want) }
	}
	newer := want(func(a *step.Attempt) { a.Revision = "main@sha1:2" })
	for name, tc := range map[string]struct {
		step.Observed
		next step.Action
	}{
		"nothing to do":                  {settled(), step.Watch},
		"first":                          {with(func(o *step.Observed) { o.Attempted, o.Due = step.Attempt{}, time.Time{} }), step.Apply},
		"new commit":                     {with(newer), step.Apply},
		"new commit after a bad one":     {with(newer, failed), step.Apply},
		"new commit, and drift":          {with(newer, drift), step.Apply},
		"spec":                           {with(want(func(a *step.Attempt) { a.Generation++ })), step.Apply},
		"requested":                      {with(want(func(a *step.Attempt) { a.Request = "now" })), step.Apply},
		"annotation":                     {with(want(func(a *step.Attempt) { a.Settings = "y" })), step.Apply},
		"quarantined":                    {with(newer, quarantined), step.Hold},
		"quarantined, nothing new":       {with(quarantined), step.Watch},
		"quarantined, drift":             {with(quarantined, drift, failed), step.Heal},
		"retry":                          {with(retry), step.Apply},
		"retry of a failed one":          {with(retry, failed), step.Apply},
		"interval is over":               {with(due), step.Apply},
		"interval is over, of a bad one": {with(due, failed), step.Apply},
		"drift":                          {with(drift), step.Converge},
		"drift while the head is bad":    {with(drift, failed), step.Heal},
		"blocked":                        {with(blocked), step.Refuse},
		"blocked, new commit":            {with(blocked, newer), step.Refuse},
		"blocked, drift":                 {with(blocked, drift), step.Refuse},
		"changed":                        {with(changed, newer), step.LookAgain},
		"waiting":                        {with(waiting, newer, retry, drift), step.Await},
		"suspended":                      {with(suspended, newer, retry, drift), step.Rest},
		"suspended and blocked":          {with(suspended, blocked), step.Rest},
		"deleted":                        {with(deleting, newer), step.Release},
		"deleted while suspended":        {with(deleting, suspended), step.Release},
		"gone":                           {with(gone, deleting, suspended, newer), step.End},
	} {
		if got := step.Next(tc.Observed); got != tc.next {
			t.Errorf("%s: %v, want %v", name, got, tc.next)
		}
	}
}

// anything observes at random.
func anything(r *rand.Rand) step.Observed {
	flag := func() bool { return r.IntN(4) == 0 }
	attempt := func() step.Attempt {
		return step.Attempt{Revision: []string{"", "main@sha1:1", "main@sha1:2"}[r.IntN(3)], Generation: int64(r.IntN(2)), Hold: flag()}
	}
	o := step.Observed{
		Gone: flag(), Deleting: flag(), Suspended: flag(), Waiting: flag(), Changed: flag(), Failed: flag(), Retry: flag(), Drift: flag(), Quarantined: flag(),
		Want: attempt(), Attempted: attempt(), Now: now, Due: now.Add(time.Duration(r.IntN(5)-2) * time.Second),
	}
	if flag() {
		o.Blocked = errors.New("blocked")
	}
	return o
}

// Whatever is observed: nothing is written for a Kustomization that is gone, goes,
// rests, waits or is blocked; and what is new is tried whatever came of the last.
func TestNextOfAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // repeatable, and nothing secret
	writes := []step.Action{step.Apply, step.Hold, step.Heal, step.Converge}
	seen := map[step.Action]bool{}
	for range 100_000 {
		o := anything(r)
		next := step.Next(o)
		seen[next] = true
		hindered := o.Gone || o.Deleting || o.Suspended || o.Waiting || o.Changed || o.Blocked != nil
		if writes := slices.Contains(writes, next); hindered && writes {
			t.Fatalf("%v of %+v", next, o)
		}
		if tried := next == step.Apply && !o.Quarantined || next == step.Hold && o.Quarantined; !hindered && o.Want != o.Attempted && !tried {
			t.Fatalf("what is new is not tried: %v of %+v", next, o)
		}
		if next == step.Converge && o.Failed {
			t.Fatalf("a bad head is put back: %+v", o)
		}
		// What does not matter for the decision changes nothing of it.
		same := o
		if o.Suspended || o.Deleting || o.Gone {
			same.Waiting, same.Changed, same.Blocked, same.Want, same.Retry, same.Drift = !o.Waiting, !o.Changed, nil, step.Attempt{}, !o.Retry, !o.Drift
		}
		if again := step.Next(same); again != next {
			t.Fatalf("%v, and %v with other things that must not count: %+v", next, again, o)
		}
	}
	if len(seen) != 11 {
		t.Errorf("of all actions only %v came up", seen)
	}
}

// A loop that does what it is told comes to rest: after an attempt nothing is done
// until something changes or the interval is over, however the attempt ended.
func TestLoopComesToRest(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // repeatable, and nothing secret
	for range 10_000 {
		o := anything(r)
		o.Gone, o.Deleting, o.Suspended, o.Waiting, o.Changed, o.Blocked = false, false, false, false, false, nil
		for steps := 0; ; steps++ {
			if steps > 3 {
				t.Fatalf("no rest: %v of %+v", step.Next(o), o)
			}
			next := step.Next(o)
			if next == step.Watch {
				break
			}
			if next == step.Apply || next == step.Hold {
				o.Attempted, o.Failed, o.Due = o.Want, r.IntN(2) == 0, o.Now.Add(time.Minute)
			}
			o.Retry, o.Drift = false, false
		}
	}
}

func TestWait(t *testing.T) {
	in := func(d time.Duration) time.Time { return now.Add(d) }
	for name, tc := range map[string]struct {
		got, want time.Duration
	}{
		"due":            {step.Wait(now, in(time.Minute)), time.Minute},
		"none":           {step.Wait(now, in(time.Minute), time.Time{}, time.Time{}), time.Minute},
		"another before": {step.Wait(now, in(time.Minute), in(time.Hour), in(time.Second), time.Time{}), time.Second},
		"past":           {step.Wait(now, in(time.Minute), in(-time.Hour)), time.Millisecond},
		"overdue":        {step.Wait(now, in(-time.Minute)), time.Millisecond},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %v, want %v", name, tc.got, tc.want)
		}
	}
}

// Who changes something back again and again is answered ten times a second, then
// once in ten seconds, and quickly again after a minute of peace.
func TestDrifts(t *testing.T) {
	var d step.Drifts
	at := now
	corrected := func(within time.Duration) int {
		n := 0
		for end := at.Add(within); at.Before(end); {
			ok, next := d.Correct(at)
			if ok {
				n++
				at = at.Add(time.Millisecond)
				continue
			}
			if !next.After(at) {
				t.Fatalf("too early, and to be looked at again in the past: %v at %v", next, at)
			}
			at = next
		}
		return n
	}
	if n := corrected(999 * time.Millisecond); n != 10 {
		t.Errorf("%d corrections in the first second, want 10", n)
	}
	if n := corrected(time.Minute); n < 5 || n > 7 {
		t.Errorf("%d corrections in the minute after that, want 6", n)
	}
	at = at.Add(2 * time.Minute)
	if n := corrected(500 * time.Millisecond); n != 5 {
		t.Errorf("%d corrections in half a second after two minutes of peace, want 5", n)
	}
}

func TestOutcome(t *testing.T) {
	for name, tc := range map[string]struct {
		step.Outcome
		next step.Action
	}{
		"applied":                       {step.Outcome{}, step.Watch},
		"first, applied":                {step.Outcome{First: true}, step.Watch},
		"drift, applied":                {step.Outcome{Drift: true}, step.Watch},
		"failed":                        {step.Outcome{Failed: true}, step.Watch},
		"first, failed":                 {step.Outcome{First: true, Failed: true}, step.Heal},
		"drift and a head that fails":   {step.Outcome{Drift: true, Failed: true}, step.Heal},
		"drift in a freeze":             {step.Outcome{Drift: true, Failed: true, Frozen: true}, step.Heal},
		"frozen":                        {step.Outcome{Failed: true, Frozen: true}, step.Urgent},
		"edited meanwhile":              {step.Outcome{Failed: true, Changed: true, First: true, Frozen: true, Drift: true}, step.Forget},
		"edited meanwhile, but applied": {step.Outcome{Changed: true}, step.Watch},
	} {
		if got := tc.Next(); got != tc.next {
			t.Errorf("%s: %v, want %v", name, got, tc.next)
		}
	}
}
