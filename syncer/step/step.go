package step

import "time"

// Attempt identifies what is applied, or was tried to be. What differs in any of
// it is another attempt.
type Attempt struct {
	Revision   string
	Generation int64
	Request    string // value of the reconcile.fluxcd.io/requestedAt annotation
	Settings   string // Headway's annotations, the source's spec.ignore, and the build's inputs
	Hold       bool   // goes back to what was good while the newest commit is in quarantine
}

// None reports whether nothing was tried yet.
func (a Attempt) None() bool { return a == (Attempt{}) }

// Observed is what a loop has found out. It looks in the order of the fields and
// may stop at the first that says what to do: those after it then count for nothing.
type Observed struct {
	// Gone, Deleting and Suspended are about the stored Kustomization.
	Gone, Deleting, Suspended bool
	// Waiting says that nothing can be done before another wakes the loop: the first
	// look of the source, its group, or the Kustomization that declares this one.
	Waiting bool
	// Changed says that the Kustomization is no longer what was looked at.
	Changed bool
	// Blocked is why the head cannot be applied, whatever it has.
	Blocked error
	// Want is the attempt to apply the head, Attempted the last one, and Failed
	// whether that failed.
	Want, Attempted Attempt
	Failed          bool
	// Quarantined says that the head has failed and is not to be tried again.
	Quarantined bool
	// Retry says that another attempt is asked for.
	Retry bool
	// Drift says that something that was applied was changed, and may be put back.
	Drift bool
	// Now is the time, and Due when there is an attempt without any reason.
	Now, Due time.Time
}

// Action is what a loop does next.
type Action int

// The actions.
const (
	// End ends the loop: the Kustomization is gone.
	End Action = iota
	// Release deletes what was applied and lets the Kustomization go.
	Release
	// Rest does nothing until the loop is woken: it is suspended.
	Rest
	// Await does nothing until the loop is woken: another has to come first.
	Await
	// LookAgain observes anew.
	LookAgain
	// Refuse tells why nothing is applied.
	Refuse
	// Apply applies the head.
	Apply
	// Hold goes back to the commit that was healthy last, as the head is in
	// quarantine.
	Hold
	// Heal puts back what was applied last, as the head is bad.
	Heal
	// Converge puts back what the head has.
	Converge
	// Watch judges what is applied, and nothing else.
	Watch
	// Forget takes back that there was an attempt: what it was made for is no more.
	Forget
	// Urgent applies a commit below the head that a freeze does not hold.
	Urgent
)

// String names the action.
func (a Action) String() string {
	names := [...]string{"End", "Release", "Rest", "Await", "LookAgain", "Refuse", "Apply", "Hold", "Heal", "Converge", "Watch", "Forget", "Urgent"}
	if a < 0 || int(a) >= len(names) {
		return "unknown"
	}
	return names[a]
}

// Next decides. What goes first: that the Kustomization is to go, then that it is
// left alone, then whom it waits for, then what keeps it from the head. A new head
// comes before everything that is to be said of the one before.
func Next(o Observed) Action {
	switch {
	case o.Gone:
		return End
	case o.Deleting:
		return Release
	case o.Suspended:
		return Rest
	case o.Waiting:
		return Await
	case o.Changed:
		return LookAgain
	case o.Blocked != nil:
		return Refuse
	case o.Want == o.Attempted && !o.Retry && o.Now.Before(o.Due):
	case o.Quarantined:
		return Hold
	default:
		return Apply
	}
	switch {
	case o.Drift && o.Failed:
		return Heal
	case o.Drift:
		return Converge
	}
	return Watch
}

// Outcome is what came of an attempt on the head: [Apply] or [Hold].
type Outcome struct {
	// First says that it was the first one since the start, Failed that the head is
	// not applied, and Changed that the Kustomization is another by now.
	First, Failed, Changed bool
	// Drift says that something that was applied was changed before, and not put back.
	Drift bool
	// Frozen says that a freeze holds the head.
	Frozen bool
}

// Next decides what follows, one thing after the other, and [Watch] when that is
// all. A head that cannot be applied puts nothing back: what was changed by hand,
// also before the start, is put back from what was applied last.
func (o Outcome) Next() Action {
	switch {
	case o.Failed && o.Changed:
		return Forget
	case o.Failed && (o.First || o.Drift):
		return Heal
	case o.Frozen:
		return Urgent
	}
	return Watch
}

// Wait is for how long a loop sleeps if nobody wakes it: until the first of the
// times, of which the zero one is none. It is never without end, nor nothing at
// all: due is always there.
func Wait(now, due time.Time, others ...time.Time) time.Duration {
	delay := due.Sub(now)
	for _, at := range others {
		if !at.IsZero() {
			delay = min(delay, at.Sub(now))
		}
	}
	return max(delay, time.Millisecond)
}
