// Package object names API objects and the events about them. It is the
// vocabulary that the store, the syncer, the controllers and the scheduler
// share, so that none of them has to import another.
package object

import (
	"context"
	"errors"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Object is any API object. Objects read from the store are shared and must
// never be changed: copy the parts that change, then pass on the copy.
type Object interface {
	runtime.Object
	metav1.Object
}

// Key names one object of the cluster. Namespace is empty for cluster-scoped
// kinds.
type Key struct {
	schema.GroupKind
	Namespace, Name string
}

// KeyOf returns the key of an object of a kind, which need not have TypeMeta.
func KeyOf(kind schema.GroupKind, obj metav1.Object) Key {
	return Key{GroupKind: kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// String is "Kind.group/namespace/name", for logs and errors.
func (k Key) String() string {
	parts := []string{k.GroupKind.String()}
	if k.Namespace != "" {
		parts = append(parts, k.Namespace)
	}
	return strings.Join(append(parts, k.Name), "/")
}

// EventType is what happened to an object.
type EventType uint8

// The events of a watch. A deletion carries the object's last state.
const (
	Added EventType = iota + 1
	Modified
	Deleted
)

// Event is one committed change to one object.
type Event struct {
	Type EventType
	Key  Key
	// Object is the new state; of a deletion, the last state with the
	// deletion's resourceVersion.
	Object Object
	// Old is the state before, nil for Added.
	Old Object
	// Revision is the store revision that the change got.
	Revision uint64
}

// ErrExpired is returned by a Watcher that asks for events older than the
// store still has. The caller lists again and watches from there; the API
// answers 410 Gone.
var ErrExpired = errors.New("object: the events from this revision on are no longer kept; list again")

// Watcher follows the changes to some kinds, in the order of their revisions.
type Watcher interface {
	// Next blocks until there are events after those that it returned last,
	// and returns all of them. It fails with ErrExpired if the caller fell
	// behind too far, and with ctx.Err() when ctx ends.
	Next(ctx context.Context) ([]Event, error)
	// Revision is the newest revision that the watcher has passed, with or
	// without events of its kinds: a watch can be resumed from there.
	Revision() uint64
}

// Packed is an object in a form that takes less memory than the object.
type Packed interface {
	// Head is the object without what is large.
	Head() Object
	// Whole is the object. It is made anew if nobody has it.
	Whole() Object
}

// Heads lists the objects of a kind as List does, without what is large in those that
// are kept packed.
func Heads(r Reader, kind schema.GroupKind) ([]Object, uint64) {
	if r, ok := r.(interface {
		Heads(kind schema.GroupKind) ([]Object, uint64)
	}); ok {
		return r.Heads(kind)
	}
	return r.List(kind, "")
}

// Head returns an object as Reader.Get does, without what is large in it if it is kept
// packed.
func Head(r Reader, key Key) Object {
	if r, ok := r.(interface{ Head(key Key) Object }); ok {
		return r.Head(key)
	}
	return r.Get(key)
}

// Reader reads the current state. All results are shared and immutable.
type Reader interface {
	// Get returns the object, or nil if there is none.
	Get(key Key) Object
	// List returns the objects of a kind ordered by namespace and name, and
	// the revision of that state. An empty namespace lists all namespaces.
	List(kind schema.GroupKind, namespace string) ([]Object, uint64)
}
