package storage

import (
	"context"
	"fmt"
	"iter"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/object"
)

// Forms is how a resource shows what is stored, where that is not simply what is
// read: a custom resource is stored in one version and read in several, each with
// the defaults of its schema of today.
type Forms interface {
	// Show returns the form in which a stored object is read. It may be shared. A
	// webhook may be asked for it: it may take a while, and fail.
	Show(stored object.Object) (object.Object, error)
	// Store returns the form in which an object of this resource is stored. It
	// may be the object itself.
	Store(written object.Object) (object.Object, error)
}

// versioned are the forms of custom resources in one version.
type versioned struct {
	// codec decodes into the version, by the schemas that were valid when it was
	// made, and encodes in the stored one.
	codec apiruntime.Codec
	// handover is what codec has been made of, if it takes objects without their
	// encoding.
	handover *Handover
	version  string
	// stores is the version in which objects are stored, once it is known.
	stores atomic.Pointer[string]
	// shown are the forms made so far, for as long as the stored objects live; nil
	// for objects that are their own form.
	shown sync.Map // weak.Pointer[unstructured.Unstructured] to *unstructured.Unstructured
	// bytes is how long those were together that are another object: webhooks make
	// them as they like.
	bytes atomic.Int64
	// making are the forms that are being made: of who wants the same one, only the
	// first asks a webhook for it.
	making sync.Map // weak.Pointer[unstructured.Unstructured] to func() (*unstructured.Unstructured, error)
}

// mostShown bounds versioned.bytes. Further forms are made each time they are read.
const mostShown = 256 << 20

func newVersioned(codec apiruntime.Codec, handover *Handover, version schema.GroupVersion) *versioned {
	return &versioned{codec: codec, handover: handover, version: version.String()}
}

// Show implements Forms.
func (v *versioned) Show(stored object.Object) (object.Object, error) {
	u, ok := stored.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("storage: %T is stored as a custom resource", stored)
	}
	key := weak.Make(u)
	if form, ok := v.shown.Load(key); ok {
		if form := form.(*unstructured.Unstructured); form != nil {
			return form, nil
		}
		return u, nil
	}
	once, _ := v.making.LoadOrStore(key, sync.OnceValues(func() (*unstructured.Unstructured, error) {
		defer v.making.Delete(key)
		return v.form(key, u)
	}))
	form, err := once.(func() (*unstructured.Unstructured, error))()
	if err != nil {
		return nil, err
	}
	return form, nil
}

// form makes the form of a stored object, and keeps it.
func (v *versioned) form(key weak.Pointer[unstructured.Unstructured], u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	form, err := v.decode(u)
	if err != nil {
		return nil, err
	}
	size, kept := int64(0), form
	if form == u {
		kept = nil
	} else if size, err = sizeOf(form); err != nil {
		return nil, err
	} else if v.bytes.Add(size) > mostShown {
		v.bytes.Add(-size)
		return form, nil
	}
	if _, known := v.shown.LoadOrStore(key, kept); known {
		v.bytes.Add(-size)
		return form, nil
	}
	// Not v itself: the stored object would keep the forms of all versions that
	// its definition ever had.
	owner := weak.Make(v)
	runtime.AddCleanup(u, func(key weak.Pointer[unstructured.Unstructured]) {
		if v := owner.Value(); v != nil {
			v.shown.Delete(key)
			v.bytes.Add(-size)
		}
	}, key)
	return form, nil
}

// decode returns what the codec makes of a stored object: the object itself, if that is
// the same.
func (v *versioned) decode(u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if form, ok := v.content(u); ok {
		if equal(form.Object, u.Object) {
			return u, nil
		}
		return form, nil
	}
	data, err := object.AppendJSON(nil, u.Object)
	if err != nil {
		return nil, fmt.Errorf("encode the stored %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	decoded, _, err := v.codec.Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	form, ok := decoded.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("storage: a custom resource is decoded as %T", decoded)
	}
	if reflect.DeepEqual(form.Object, u.Object) {
		return u, nil
	}
	return form, nil
}

// At most so many objects of a list are looked at ahead, and so many webhooks asked at
// the same time for them.
const lookAhead, askAtOnce = 64, 8

// ahead yields objects, of which the forms of the next ones that take a while are made
// together, and what went wrong with that. There are no more than limit, if it is set.
func ahead(forms Forms, objects iter.Seq2[object.Key, object.Object], limit int64) iter.Seq2[listed, error] {
	v, ok := forms.(*versioned)
	if !ok {
		return func(yield func(listed, error) bool) {
			for key, obj := range objects {
				if !yield(listed{key, obj}, nil) {
					return
				}
			}
		}
	}
	size := lookAhead
	if limit > 0 {
		size = int(min(limit, lookAhead))
	}
	return func(yield func(listed, error) bool) {
		next := make([]listed, 0, size)
		flush := func() bool {
			failed := v.make(next)
			for _, item := range next {
				if !yield(item, failed[item.object]) {
					return false
				}
			}
			next = next[:0]
			return true
		}
		for key, obj := range objects {
			if next = append(next, listed{key, obj}); len(next) == size && !flush() {
				return
			}
		}
		flush()
	}
}

// listed is a stored object that may be on a list.
type listed struct {
	key    object.Key
	object object.Object
}

// make makes the forms of those of a list that may be asked for, together, and returns
// what went wrong.
func (v *versioned) make(list []listed) map[object.Object]error {
	var missing []*unstructured.Unstructured
	for _, item := range list {
		u, ok := item.object.(*unstructured.Unstructured)
		if !ok || u.GetAPIVersion() == v.version {
			continue
		}
		if _, known := v.shown.Load(weak.Make(u)); !known {
			missing = append(missing, u)
		}
	}
	if len(missing) < 2 {
		return nil
	}
	errs := make([]error, len(missing))
	var group errgroup.Group
	group.SetLimit(askAtOnce)
	for i, u := range missing {
		group.Go(func() error {
			errs[i] = guard.Call(context.Background(), "convert for a list", func() error {
				_, err := v.Show(u)
				return err
			})
			return nil
		})
	}
	_ = group.Wait() // which fails never
	failed := map[object.Object]error{}
	for i, u := range missing {
		if errs[i] != nil {
			failed[u] = errs[i]
		}
	}
	return failed
}

// sizeOf is how long the encoding of a form is.
func sizeOf(form *unstructured.Unstructured) (int64, error) {
	data, err := object.AppendJSON(nil, form.Object)
	if err != nil {
		return 0, fmt.Errorf("encode the %s %s: %w", form.GetKind(), form.GetName(), err)
	}
	return int64(len(data)), nil
}

// Store implements Forms.
func (v *versioned) Store(written object.Object) (object.Object, error) {
	if stores := v.stores.Load(); stores != nil && *stores == v.version {
		return written, nil
	}
	data, err := apiruntime.Encode(v.codec, written)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(data, &u.Object); err != nil {
		return nil, fmt.Errorf("decode what is to be stored: %w", err)
	}
	version := u.GetAPIVersion()
	v.stores.Store(&version)
	return u, nil
}
