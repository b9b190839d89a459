package storage

import (
	"bytes"
	"context"
	"io"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/object"
)

// cached is a stored object as the API server's encoders see it: each encoding
// is made once, whoever asks for it, and always from a copy. Encoders stamp
// the type on what they encode, which on a shared object would be a data race.
type cached struct {
	object object.Object
	// grew is told how many bytes another encoding takes that is kept; it may
	// be nil.
	grew func(n int)

	mu        sync.Mutex
	encodings map[runtime.Identifier]*encoding
	// forgets says that encodings are no longer kept.
	forgets bool
}

type encoding struct {
	once sync.Once
	data []byte
	err  error
}

var _ runtime.CacheableObject = (*cached)(nil)

func newCached(obj object.Object) *cached { return &cached{object: obj} }

// CacheEncode implements runtime.CacheableObject.
func (c *cached) CacheEncode(id runtime.Identifier, encode func(runtime.Object, io.Writer) error, w io.Writer) error {
	e := c.encoding(id)
	e.once.Do(func() {
		var b bytes.Buffer
		// A panic is an error for all who ask: the Once does not run again.
		e.err = guard.Call(context.Background(), "encode for watchers", func() error { return encode(c.forEncoder(), &b) })
		if e.err != nil {
			return
		}
		e.data = b.Bytes()
		if c.grew != nil {
			c.grew(len(e.data))
		}
	})
	if e.err != nil {
		return e.err
	}
	if s, ok := w.(runtime.Splice); ok {
		s.Splice(e.data)
		return nil
	}
	_, err := w.Write(e.data)
	return err
}

func (c *cached) encoding(id runtime.Identifier) *encoding {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forgets {
		return &encoding{}
	}
	if c.encodings == nil {
		c.encodings = map[runtime.Identifier]*encoding{}
	}
	e := c.encodings[id]
	if e == nil {
		e = &encoding{}
		c.encodings[id] = e
	}
	return e
}

// forget drops the encodings, and keeps none from now on: who is slow to send
// the object encodes it for itself.
func (c *cached) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.encodings, c.forgets = nil, true
}

// forEncoder is a copy on which an encoder may stamp the type: of all but custom
// resources, that is in the outer struct.
func (c *cached) forEncoder() runtime.Object {
	if _, ok := c.object.(runtime.Unstructured); ok {
		return c.GetObject()
	}
	value := reflect.ValueOf(c.object).Elem()
	out := reflect.New(value.Type())
	out.Elem().Set(value)
	return out.Interface().(runtime.Object)
}

// GetObject implements runtime.CacheableObject: the caller owns the result.
func (c *cached) GetObject() runtime.Object { return c.object.DeepCopyObject() }

// GetObjectMeta implements metav1.ObjectMetaAccessor: the caller owns the
// result.
func (c *cached) GetObjectMeta() metav1.Object {
	return c.object.DeepCopyObject().(object.Object)
}

// GetObjectKind implements runtime.Object. What is set on the result has no
// effect.
func (c *cached) GetObjectKind() schema.ObjectKind {
	kind := &metav1.TypeMeta{}
	kind.SetGroupVersionKind(c.object.GetObjectKind().GroupVersionKind())
	return kind
}

// DeepCopyObject implements runtime.Object.
func (c *cached) DeepCopyObject() runtime.Object {
	return newCached(c.object.DeepCopyObject().(object.Object))
}

// encodedKept is how many events' objects are kept for other watchers, which
// get them at about the same time, and encodedBytes how long all encodings of
// them may be together. When there have been no events for a while, none is.
const (
	encodedKept  = 256
	encodedBytes = 8 << 20
	encodedFor   = 30 * time.Second
)

// encodedObjects shares cached objects between watchers. Revisions are unique.
type encodedObjects struct {
	mu sync.Mutex
	// order are the keys, from the oldest on.
	order []encodedKey
	byKey map[encodedKey]*kept
	// size is that of all encodings kept.
	size int
	// quiet ends the time without events.
	quiet *time.Timer
}

type encodedKey struct {
	revision uint64
	old      bool
}

// kept is an object with the size of its encodings.
type kept struct {
	*cached
	size int
}

// get is the event's object.
func (c *encodedObjects) get(e object.Event) *cached {
	return c.getOr(encodedKey{e.Revision, false}, func() object.Object { return e.Object })
}

// getOld is the state before the event with the event's revision.
func (c *encodedObjects) getOld(e object.Event) *cached {
	return c.getOr(encodedKey{e.Revision, true}, func() object.Object {
		old := e.Old.DeepCopyObject().(object.Object)
		old.SetResourceVersion(strconv.FormatUint(e.Revision, 10))
		return old
	})
}

func (c *encodedObjects) getOr(key encodedKey, create func() object.Object) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.byKey[key]; k != nil {
		return k.cached
	}
	if c.byKey == nil {
		c.byKey = make(map[encodedKey]*kept, encodedKept)
	}
	if c.quiet == nil {
		c.quiet = time.AfterFunc(encodedFor, func() {
			guard.Do(context.Background(), "drop the encodings of events", c.dropAll)
		})
	}
	c.quiet.Reset(encodedFor)
	k := &kept{cached: newCached(create())}
	k.grew = func(n int) { c.account(key, k, n) }
	if len(c.order) == encodedKept {
		c.dropOldest()
	}
	c.order = append(c.order, key)
	c.byKey[key] = k
	return k.cached
}

// account adds to the size of a kept object, and drops the oldest ones until
// all are within their bytes.
func (c *encodedObjects) account(key encodedKey, k *kept, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[key] != k {
		return // dropped meanwhile
	}
	k.size += n
	c.size += n
	for c.size > encodedBytes {
		c.dropOldest()
	}
}

func (c *encodedObjects) dropAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.order) > 0 {
		c.dropOldest()
	}
	c.order, c.byKey = nil, nil
}

func (c *encodedObjects) dropOldest() {
	oldest := c.byKey[c.order[0]]
	delete(c.byKey, c.order[0])
	c.order = slices.Delete(c.order, 0, 1)
	c.size -= oldest.size
	oldest.forget()
}
