package status

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/flux"
)

// Suspension is whether an object is suspended, and what its status reports of that.
type Suspension struct {
	// Suspended is spec.suspend.
	Suspended bool
	// Reported is true if the status names By, who suspended it, and Since when.
	Reported bool
	By       string
	Since    time.Time
}

// SuspensionOf is that of an object; false for one that cannot be suspended.
func SuspensionOf(obj object.Object) (Suspension, bool) {
	suspended, list, ok := suspendable(obj)
	if !ok {
		return Suspension{}, false
	}
	s := Suspension{Suspended: suspended}
	if c := (flux.Conditions{List: list}).Get(flux.SuspendedCondition); c != nil {
		s.Reported, s.By, s.Since = true, flux.ParseSuspension(c.Message).By, c.LastTransitionTime.Time
	}
	return s, true
}

func suspendable(obj object.Object) (suspended bool, list *[]metav1.Condition, ok bool) {
	k, ok := scheme.ForObject(obj)
	if !ok || k.Suspension == nil {
		return false, nil, false
	}
	of := k.Suspension(obj)
	return *of.Suspend, of.Conditions, true
}

// Change makes the status of an object report it, while its spec agrees.
func (s Suspension) Change(key object.Key) change.Change {
	return change.PatchStatus(key, func(o object.Object) bool {
		now, list, ok := suspendable(o)
		if !ok || now != s.Suspended {
			return false // its loop is woken for that
		}
		set := flux.Conditions{List: list, Generation: o.GetGeneration(), Now: metav1.NewTime(s.Since)}
		if s.Suspended {
			set.Put(flux.SuspendedCondition, metav1.ConditionTrue, flux.SuspendedReason, flux.Suspension{By: s.By}.String())
		} else {
			set.Drop(flux.SuspendedCondition)
		}
		return true
	})
}
