package storage

import (
	"bytes"
	"io"
	"strconv"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/object"
)

// cached is a stored object as the API server's encoders see it: each encoding
// is made once, whoever asks for it, and always from a copy. Encoders stamp
// the type on what they encode, which on a shared object would be a data race.
type cached struct {
	object object.Object

	mu        sync.Mutex
	encodings map[runtime.Identifier]*encoding
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
		e.err = encode(c.GetObject(), &b)
		e.data = b.Bytes()
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
// get them at about the same time.
const encodedKept = 256

// encodedObjects shares cached objects between watchers. Revisions are unique.
type encodedObjects struct {
	mu    sync.Mutex
	order [encodedKept]encodedKey
	next  int
	byKey map[encodedKey]*cached
}

type encodedKey struct {
	revision uint64
	old      bool
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
	if obj := c.byKey[key]; obj != nil {
		return obj
	}
	if c.byKey == nil {
		c.byKey = make(map[encodedKey]*cached, encodedKept)
	}
	obj := newCached(create())
	delete(c.byKey, c.order[c.next])
	c.order[c.next] = key
	c.next = (c.next + 1) % encodedKept
	c.byKey[key] = obj
	return obj
}
