package control

import (
	"time"

	"k8s.io/client-go/util/flowcontrol"
)

// Failures makes pods wait that fail again and again where they are made again.
type Failures struct{ backoff *flowcontrol.Backoff }

// NewFailures makes pods wait for first after the first failure, then for twice as long
// each time, up to last. After twice that without a failure it begins anew.
func NewFailures(first, last time.Duration) *Failures {
	return &Failures{flowcontrol.NewBackOff(first, last)}
}

// Wait is for how long the next pod of a place that has failed stays.
func (f *Failures) Wait(place string) time.Duration {
	if f.backoff.IsInBackOffSinceUpdate(place, f.backoff.Clock.Now()) {
		return f.backoff.Get(place)
	}
	return 0
}

// Note counts a failed pod that goes.
func (f *Failures) Note(place string) {
	f.backoff.Next(place, f.backoff.Clock.Now())
	f.backoff.GC()
}
