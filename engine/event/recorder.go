// Package event records what happened to an object as Event objects, for the
// writers inside the server's process: the controllers, the scheduler and the
// syncer.
//
// A Recorder takes an event without waiting; the goroutine of its Run folds
// repetitions together as client-go's recorder does (count and lastTimestamp,
// similar events combined, a rate limit for each object) and writes what is
// left in transactions of many. Events are dropped when too many wait: they
// are a courtesy, and must never hold up the work that they tell about.
package event

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

const (
	// waiting bounds the events that were not yet written.
	waiting = 4096
	// maxMessage is the longest message, in bytes, as the API validates it.
	maxMessage = 1024
)

// Committer writes transactions.
type Committer interface {
	Commit(ctx context.Context, tx change.Tx) ([]object.Object, error)
}

type entry struct {
	source string
	event  *corev1.Event
}

// Recorder is safe for concurrent use.
type Recorder struct {
	store   Committer
	now     func() time.Time
	log     *slog.Logger
	entries chan entry
	// last is the newest stamp given out, as part of events' names.
	last atomic.Int64
}

// NewRecorder makes a recorder, whose events are written while Run runs.
func NewRecorder(store Committer, now func() time.Time, log *slog.Logger) *Recorder {
	return &Recorder{store: store, now: now, log: log, entries: make(chan entry, waiting)}
}

// Normal records that something went as it should. source is the component that
// reports it, such as "deployment-controller".
func (r *Recorder) Normal(source string, about object.Object, reason, format string, args ...any) {
	r.record(source, about, corev1.EventTypeNormal, reason, fmt.Sprintf(format, args...))
}

// Warning records that something went wrong.
func (r *Recorder) Warning(source string, about object.Object, reason, format string, args ...any) {
	r.record(source, about, corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...))
}

func (r *Recorder) record(source string, about object.Object, typ, reason, message string) {
	if r == nil {
		return
	}
	key, err := scheme.KeyOf(about)
	if err != nil {
		r.log.Warn("event about an unknown kind", "error", err)
		return
	}
	apiVersion := ""
	if k, ok := scheme.ForKind(key.GroupKind); ok {
		apiVersion = k.GroupVersion().String()
	}
	now := metav1.NewTime(r.now())
	namespace := key.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "")
	}
	ev := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Name:      fmt.Sprintf("%s.%x", key.Name, r.stamp(now.Time)),
			Namespace: namespace,
		},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: apiVersion, Kind: key.Kind, Namespace: key.Namespace, Name: key.Name,
			UID: about.GetUID(), ResourceVersion: about.GetResourceVersion(),
		},
		Reason: reason, Message: message, Type: typ,
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		Source:              corev1.EventSource{Component: source},
		ReportingController: source,
	}
	select {
	case r.entries <- entry{source, ev}:
	default:
		r.log.Debug("event dropped, too many wait", "object", key, "reason", reason)
	}
}

// stamp is the time in nanoseconds, but never the same twice: two events of
// one tick need two names.
func (r *Recorder) stamp(now time.Time) int64 {
	for {
		last := r.last.Load()
		next := max(now.UnixNano(), last+1)
		if r.last.CompareAndSwap(last, next) {
			return next
		}
	}
}

// Run writes events until ctx ends.
func (r *Recorder) Run(ctx context.Context) error {
	correlators := map[string]*correlator{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case first := <-r.entries:
			var changes []change.Change
			for next, more := first, true; more; {
				c := correlators[next.source]
				if c == nil {
					c = newCorrelator(r.now)
					correlators[next.source] = c
				}
				if ch, ok := r.correlate(c, next.event); ok {
					changes = append(changes, ch)
				}
				select {
				case next = <-r.entries:
				default:
					more = false
				}
			}
			if len(changes) == 0 {
				continue
			}
			r.write(ctx, changes)
		}
	}
}

// write falls back to one transaction for each event, as one that is refused
// (its namespace is going) must not take the others along.
func (r *Recorder) write(ctx context.Context, changes []change.Change) {
	if _, err := r.store.Commit(ctx, change.Tx{Durability: change.Behind, Changes: changes}); err == nil || ctx.Err() != nil {
		return
	}
	for _, c := range changes {
		if _, err := r.store.Commit(ctx, change.Tx{Durability: change.Behind, Changes: []change.Change{c}}); err != nil && ctx.Err() == nil {
			r.log.Debug("event was not written", "event", c.Key, "error", err)
		}
	}
}

func (r *Recorder) correlate(c *correlator, ev *corev1.Event) (change.Change, bool) {
	next, ok := c.fold(ev)
	if !ok {
		r.log.Debug("event dropped, too many about the object", "object", ev.InvolvedObject.Name, "reason", ev.Reason)
		return change.Change{}, false
	}
	key, err := scheme.KeyOf(next)
	if err != nil {
		return change.Change{}, false
	}
	create := change.Create(next, r.now())
	return change.Change{Key: key, Mutate: func(current object.Object) (object.Object, error) {
		stored, ok := current.(*corev1.Event)
		if !ok {
			return create.Mutate(nil)
		}
		updated := *stored
		updated.Count, updated.LastTimestamp, updated.Message = max(next.Count, stored.Count+1), next.LastTimestamp, next.Message
		return &updated, nil
	}}, true
}
