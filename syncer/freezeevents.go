package syncer

import (
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/gate"
)

// thawedReason is the reason of the event that a freeze is over.
const thawedReason = "Thawed"

// watchFreeze tells by events that a freeze has begun and ended, whether or not
// a commit waits, and returns when it is to be asked again; zero if there are
// no windows. A start within a window tells of it again.
func (k *kustomization) watchFreeze(ks *kustomizev1.Kustomization) time.Time {
	b, err := k.s.gates.BoundsOf(ks)
	if err != nil {
		return time.Time{} // the plan tells of it
	}
	now := k.s.env.Now()
	until, in, next := b.FrozenAt(now)
	switch {
	case !until.IsZero() && !k.frozen:
		k.s.env.Record(ks, corev1.EventTypeNormal, gate.FrozenReason, fmt.Sprintf("Frozen until %s (%s: %s): new commits wait", until.Format(time.RFC3339), flux.Freeze, in))
	case until.IsZero() && k.frozen:
		k.s.env.Record(ks, corev1.EventTypeNormal, thawedReason, "The freeze is over: new commits are applied")
	}
	k.frozen = !until.IsZero()
	if k.frozen {
		return until
	}
	return next
}
