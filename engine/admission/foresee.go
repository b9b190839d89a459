package admission

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/warning"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Ask is a write that is only thought of.
type Ask struct {
	// View is the cluster that it would come upon.
	View object.Reader
	By   change.User
	// Object would be stored in the place of Old, which is nil for a creation.
	Object, Old object.Object
	// Replaced is what would be deleted before, to make room for it.
	Replaced object.Object
	// Changes asks only what plugins would change, and not whether they refuse it.
	Changes bool
	// Subresource is the part of the object that is written; empty for all of it.
	Subresource string
}

// Answer is what would come of it: the object to store, and what users would be
// warned of, or why it would be refused.
type Answer struct {
	Object   object.Object
	Warnings []string
	Refused  error
	// Along are further objects as they would be with it, which count for what comes
	// after it.
	Along []object.Object
}

type foreseeKey struct{}

// Foreseeing reports whether a plugin is asked about what is only thought of,
// and may say more of it than of a write.
func Foreseeing(ctx context.Context) bool { return ctx.Value(foreseeKey{}) != nil }

// Foresee asks all plugins about a write, as a dry run.
func (c *Chain) Foresee(ctx context.Context, ask Ask) Answer {
	key, err := scheme.KeyOf(ask.Object)
	if err != nil {
		return Answer{Object: ask.Object} // others refuse it
	}
	kind, ok := c.kindOf(key.GroupKind, ask.View)
	if !ok || !c.wants(kind.Resource().GroupResource(), ask.Subresource) {
		return Answer{Object: ask.Object}
	}
	var told warnings
	ctx = warning.WithWarningRecorder(context.WithValue(WithView(ctx, ask.View), foreseeKey{}, true), &told)
	w := write{kind: kind, key: key, subresource: ask.Subresource, by: ask.By, dryRun: true, next: ask.Object, old: ask.Old}
	// What is stored has already what the plugins of the cluster make of it.
	if may, users := c.mutates(w.attributes(key.Name)); ask.Changes && (!may || ask.Old != nil && !users) {
		return Answer{Object: ask.Object}
	}
	next, err := c.ask(ctx, w)
	return Answer{Object: next, Warnings: told, Refused: err}
}

// Foresee is the chain's, in a cluster in which namespaces come with what the
// store writes along with them.
func (w *Writer) Foresee(ctx context.Context, ask Ask) Answer {
	if w.along != nil {
		ask.View = furnished{ask.View, w}
	}
	if ask.By.Name == "" {
		ask.By = w.user
	}
	answer := w.chain.Foresee(ctx, ask)
	if w.along != nil && !ask.Changes && answer.Refused == nil && answer.Object != nil {
		answer.Along, answer.Refused = w.foreseeAlong(ask, answer.Object)
	}
	return answer
}

// foreseeAlong returns what would be written along with an object, if something
// would be that has a say in it.
func (w *Writer) foreseeAlong(ask Ask, obj object.Object) ([]object.Object, error) {
	key, err := scheme.KeyOf(obj)
	if err != nil {
		return nil, nil //nolint:nilerr // others refuse it
	}
	view := newOverlay(ask.View)
	var along []object.Object
	apply := func(next, old object.Object) error {
		view.put(key, next)
		for _, c := range w.along(view, eventOf(key, next, old)) {
			if !c.Always {
				continue
			}
			made, err := c.Mutate(view.Get(c.Key))
			if err != nil {
				return err
			}
			if view.put(c.Key, made); made != nil {
				along = append(along, made)
			}
		}
		return nil
	}
	if ask.Old == nil && ask.Replaced != nil {
		// What is created in its place counts as new, and not only by what it has more.
		if err := apply(nil, ask.Replaced); err != nil {
			return nil, err
		}
	}
	if err := apply(obj, ask.Old); err != nil {
		return nil, err
	}
	return along, nil
}

// furnished is a state of the cluster in which namespaces that are not stored yet
// have what comes along with them.
type furnished struct {
	object.Reader
	writer *Writer
}

// Get implements object.Reader.
func (f furnished) Get(key object.Key) object.Object {
	if obj := f.Reader.Get(key); obj != nil || key.Namespace == "" {
		return obj
	}
	home := object.Key{GroupKind: schema.GroupKind{Kind: "Namespace"}, Name: key.Namespace}
	ns := f.Reader.Get(home)
	if ns == nil || f.writer.Get(home) != nil {
		return nil
	}
	for _, c := range f.writer.along(f.Reader, object.Event{Type: object.Added, Key: home, Object: ns}) {
		if c.Key == key {
			obj, err := c.Mutate(nil)
			if err != nil {
				return nil
			}
			return obj
		}
	}
	return nil
}

// warnings implements warning.Recorder.
type warnings []string

// AddWarning implements warning.Recorder. Webhooks may be asked side by side,
// but their library tells what they warn of one after the other.
func (w *warnings) AddWarning(_, text string) {
	if !slices.Contains(*w, text) {
		*w = append(*w, text)
	}
}
