package env

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/wire"
)

// Store is what the syncer needs of the store.
type Store interface {
	object.Reader
	Watch(from uint64, kinds ...schema.GroupKind) (object.Watcher, error)
	Commit(ctx context.Context, tx change.Tx) ([]object.Object, error)
	Records(log string, from int64, limit int) ([][]byte, error)
}

// Events records events about an object; typ is Normal or Warning.
type Events interface {
	Event(obj object.Object, typ, reason, message string)
}

// Env is what every part of the syncer works with.
type Env struct {
	Store Store
	// Kinds are those of the store; nil are Headway's own.
	Kinds *scheme.Registry
	// Convert asks the webhooks that convert custom resources; nil asks none.
	Convert custom.Converter
	Log     *slog.Logger
	Now     func() time.Time
	// Events may be nil.
	Events Events
	// Feed passes progress to its subscribers.
	Feed Feed
	// Progress, which may be nil, is called with every step of every source, in
	// order, before the subscribers; Observe after them.
	Progress, Observe func(wire.Event)
}

// Record creates an event, if events are recorded.
func (e *Env) Record(obj object.Object, typ, reason, message string) {
	if e.Events != nil && obj != nil {
		e.Events.Event(obj, typ, reason, message)
	}
}

// Emit reports progress, stamped with the time.
func (e *Env) Emit(ev wire.Event) {
	ev.Time = e.Now()
	if e.Progress != nil {
		e.Progress(ev)
	}
	e.Feed.Send(ev)
	if e.Observe != nil {
		e.Observe(ev)
	}
}
