package syncer

import (
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/syncer/flux"
)

// thawedReason is the reason of the event that a freeze is over.
const thawedReason = "Thawed"

// watchFreeze tells by events that a freeze has begun and ended, whether or not
// a commit waits, and returns when it is to be asked again; zero if there are
// no windows. A start within a window tells of it again.
func (k *kustomization) watchFreeze(ks *kustomizev1.Kustomization) time.Time {
	b, err := k.s.boundsOf(ks)
	if err != nil {
		return time.Time{} // the plan tells of it
	}
	now := k.s.env.Now()
	until, in := frozen(b.windows, now)
	switch {
	case !until.IsZero() && !k.frozen:
		k.s.env.Record(ks, corev1.EventTypeNormal, frozenReason, fmt.Sprintf("Frozen until %s (%s: %s): new commits wait", until.Format(time.RFC3339), flux.Freeze, in))
	case until.IsZero() && k.frozen:
		k.s.env.Record(ks, corev1.EventTypeNormal, thawedReason, "The freeze is over: new commits are applied")
	}
	k.frozen = !until.IsZero()
	if k.frozen {
		return until
	}
	return nextFreeze(b.windows, now)
}

// nextFreeze is when the next of the windows starts after t.
func nextFreeze(windows []window, t time.Time) time.Time {
	var first time.Time
	for _, w := range windows {
		s := w.start.Next(w.wall(t))
		if s.IsZero() {
			continue
		}
		start := time.Date(s.Year(), s.Month(), s.Day(), s.Hour(), s.Minute(), s.Second(), 0, w.zone)
		if !start.After(t) {
			start = t.Add(time.Minute) // when the clocks change
		}
		if first.IsZero() || start.Before(first) {
			first = start
		}
	}
	return first
}
