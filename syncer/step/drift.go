package step

import "time"

const (
	// driftPause is the least time between two corrections of drift: a
	// controller that keeps setting a field that Git sets, too, must not turn
	// the cluster into a busy loop.
	driftPause = 100 * time.Millisecond
	// driftBurst is how many corrections there are at that pace; after them
	// it is driftSlow, until an interval passed without any.
	driftBurst = 10
	driftSlow  = 10 * time.Second
)

// Drifts paces the corrections of drift. Its zero value is that of none.
type Drifts struct {
	count int
	last  time.Time
}

// Correct reports whether something that was changed is put back now, which it
// notes. If it is too early it returns when it is time.
func (d *Drifts) Correct(now time.Time) (ok bool, at time.Time) {
	pause := driftPause
	if d.count >= driftBurst {
		pause = driftSlow
	}
	since := now.Sub(d.last)
	if since < pause {
		return false, d.last.Add(pause)
	}
	if since > 6*driftSlow {
		d.count = 0
	}
	d.count++
	d.last = now
	return true, time.Time{}
}
