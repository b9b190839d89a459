package editors

import (
	"context"
	"time"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/git"
	"headway.dev/syncer/history"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/status"
)

// NoteSuspender remembers who suspends something, until its loop writes that
// down.
func (e *Editors) NoteSuspender(w change.Request) {
	if w.Next == nil {
		return
	}
	if is, _ := status.SuspensionOf(w.Next); !is.Suspended {
		return
	}
	if w.Old != nil {
		if was, _ := status.SuspensionOf(w.Old); was.Suspended {
			return
		}
	}
	if key, err := plan.KeyOf(w.Next); err == nil {
		e.suspenders.note(key, w, e.env.Now())
	}
}

// UpdateSuspended makes the condition of an object agree with its spec.suspend.
func (e *Editors) UpdateSuspended(ctx context.Context, key object.Key, obj object.Object) {
	is, ok := status.SuspensionOf(obj)
	if !ok || is.Suspended == is.Reported {
		return
	}
	is.By, is.Since = e.suspender(key, obj)
	tx := change.Tx{Changes: []change.Change{is.Change(key)}}
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
