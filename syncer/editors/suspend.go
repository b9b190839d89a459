package editors

import (
	"context"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/history"
	"headway.dev/syncer/plan"
)

// suspendedCondition says who suspended a Kustomization or a GitRepository, and
// since when, while it is suspended.
const (
	suspendedCondition = "headway.dev/Suspended"
	bySomebody         = "suspended by " // begins its message
)

// suspendable are the parts of an object that can be suspended; false for any
// other.
func suspendable(obj object.Object) (suspended bool, list *[]metav1.Condition, ok bool) {
	k, ok := scheme.ForObject(obj)
	if !ok || k.Suspension == nil {
		return false, nil, false
	}
	of := k.Suspension(obj)
	return *of.Suspend, of.Conditions, true
}

// NoteSuspender remembers who suspends something, until its loop writes that
// down.
func (e *Editors) NoteSuspender(w change.Request) {
	if w.Next == nil {
		return
	}
	if suspended, _, _ := suspendable(w.Next); !suspended {
		return
	}
	if w.Old != nil {
		if before, _, _ := suspendable(w.Old); before {
			return
		}
	}
	if key, err := plan.KeyOf(w.Next); err == nil {
		e.suspenders.note(key, w, e.env.Now())
	}
}

// UpdateSuspended makes the condition of an object agree with its spec.suspend.
func (e *Editors) UpdateSuspended(ctx context.Context, key object.Key, obj object.Object) {
	suspended, list, ok := suspendable(obj)
	if !ok || suspended == (apimeta.FindStatusCondition(*list, suspendedCondition) != nil) {
		return
	}
	who, since := e.suspender(key, obj)
	tx := change.Tx{Changes: []change.Change{change.PatchStatus(key, func(o object.Object) bool {
		now, list, ok := suspendable(o)
		if !ok || now != suspended {
			return false // its loop is woken for that
		}
		set := flux.Conditions{List: list, Generation: o.GetGeneration(), Now: metav1.NewTime(since)}
		if suspended {
			set.Put(suspendedCondition, metav1.ConditionTrue, "Suspended", bySomebody+who)
		} else {
			set.Drop(suspendedCondition)
		}
		return true
	})}}
	if _, err := e.env.Store.Commit(ctx, tx); err != nil && ctx.Err() == nil {
		e.env.Log.Error("write who suspended it", "object", key, "err", err)
	}
}

// suspender is who suspended an object, and when: who wrote it, if that is
// remembered, else what its managed fields tell.
func (e *Editors) suspender(key object.Key, obj object.Object) (who string, since time.Time) {
	who, since = "somebody", e.env.Now()
	for _, m := range history.ManagersOf(obj) {
		switch {
		case !m.Owns("spec.suspend"):
		case m.Name != plan.Manager:
			who, since = git.OneLine(m.Name), m.Time
		case who == "somebody":
			who, since = "Git", m.Time
		}
	}
	last, ok := e.suspenders.take(key, e.env.Now())
	switch {
	case !ok || who == "Git":
	case last.Manager == "":
		who, since = last.User, last.Time
	default:
		who, since = last.User+" with "+last.Manager, last.Time
	}
	if since.IsZero() {
		since = e.env.Now()
	}
	return who, since
}

// SuspendedBy is what the condition says; empty if the object is not suspended.
func SuspendedBy(obj object.Object) (who string, since time.Time) {
	suspended, list, _ := suspendable(obj)
	if !suspended {
		return "", time.Time{}
	}
	c := apimeta.FindStatusCondition(*list, suspendedCondition)
	if c == nil {
		return "", time.Time{} // it was this moment
	}
	return strings.TrimPrefix(c.Message, bySomebody), c.LastTransitionTime.Time
}
