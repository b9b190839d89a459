// Package eventttl removes Events an hour after they last happened.
package eventttl

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

const (
	// between is the least time between two sweeps, so that each removes many.
	between  = 30 * time.Second
	together = 500
)

// New makes the controller; ttl 0 is what the kind has.
func New(env control.Env, ttl time.Duration) control.Controller {
	if k, ok := scheme.ForKind(control.Event); ok && ttl <= 0 {
		ttl = k.REST.TTL
	}
	var planned atomic.Bool
	return control.Controller{
		Name: "event-ttl-controller",
		Keys: func(ev object.Event, add func(object.Key)) {
			if ev.Key.GroupKind == control.Event && ev.Type == object.Added && planned.CompareAndSwap(false, true) {
				add(object.Key{GroupKind: control.Event})
			}
		},
		Reconcile: func(ctx context.Context, _ object.Key) (time.Duration, error) {
			// Before the list, so that an event that comes during it plans anew.
			planned.Store(false)
			now := env.Now()
			objs, _ := env.Store.List(control.Event, "")
			var expired []change.Change
			var next time.Time
			for _, obj := range objs {
				at := last(obj).Add(ttl)
				if at.After(now) {
					if next.IsZero() || at.Before(next) {
						next = at
					}
					continue
				}
				seen := obj.GetResourceVersion()
				expired = append(expired, control.Guarded(change.Delete(object.KeyOf(control.Event, obj), metav1.DeleteOptions{}, now),
					func(current object.Object) bool { return current.GetResourceVersion() == seen }))
			}
			for batch := range slices.Chunk(expired, together) {
				if _, err := env.Commit(ctx, change.Tx{Durability: change.Behind, Changes: batch}); err != nil {
					return 0, fmt.Errorf("remove expired events: %w", err)
				}
			}
			if next.IsZero() {
				return 0, nil
			}
			planned.Store(true)
			return max(between, next.Sub(now)), nil
		},
	}
}

// last is when the event last happened.
func last(obj object.Object) time.Time {
	at := obj.GetCreationTimestamp().Time
	if ev, ok := obj.(*corev1.Event); ok {
		for _, t := range []time.Time{ev.LastTimestamp.Time, ev.EventTime.Time} {
			if t.After(at) {
				at = t
			}
		}
		if ev.Series != nil && ev.Series.LastObservedTime.After(at) {
			at = ev.Series.LastObservedTime.Time
		}
	}
	return at
}
