package known

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"headway.dev/manifests/guard"
)

// object is one of the API's types.
type object interface {
	metav1.Object
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// Kind is what is known of one kind of objects.
type Kind struct {
	name string
	make func() object
	// slim leaves of an object what is used; nil: all of it.
	slim func(object) object
	read func(context.Context, cache.ReflectorStore)
	// changed is told which objects are not kept as they are, and that all of them are
	// known; nil: nothing is kept. mu is held.
	changed func(types.NamespacedName)

	mu      sync.Mutex
	objects map[types.NamespacedName]object
	// known: these are all that there are, or were. fresh: the API has said so.
	known, fresh bool
	followers    map[*follower]bool
}

// follower is who is told.
type follower struct {
	store cache.ReflectorStore
	ctx   context.Context //nolint:containedctx // the life of the follower
	// api: what was kept is nothing to it.
	api bool
	// behind: it failed, and has not been told of everything since.
	behind bool
}

func newKind(name string, create func() object) *Kind {
	return &Kind{name: name, make: create, objects: map[types.NamespacedName]object{}, followers: map[*follower]bool{}}
}

// Follow keeps a store equal to what is known until ctx ends: first it gets all objects
// by Replace, as soon as they are known, and then each change. They are shared, and must
// not be changed.
func (k *Kind) Follow(ctx context.Context, store cache.ReflectorStore) { k.follow(ctx, store, false) }

// FollowAPI is Follow that waits until the API has told of the objects: what was kept
// may lack some.
func (k *Kind) FollowAPI(ctx context.Context, store cache.ReflectorStore) { k.follow(ctx, store, true) }

func (k *Kind) follow(ctx context.Context, store cache.ReflectorStore, api bool) {
	f := &follower{store: store, ctx: ctx, api: api}
	k.mu.Lock()
	k.followers[f] = true
	if k.tells(f) {
		k.tellAll(f)
	}
	k.mu.Unlock()
	<-ctx.Done()
	k.mu.Lock() // who is being told is waited for
	defer k.mu.Unlock()
	delete(k.followers, f)
}

// tells reports whether a follower is to be told. mu is held, as in the following.
func (k *Kind) tells(f *follower) bool { return k.known && (k.fresh || !f.api) }

func (k *Kind) tellAll(f *follower) {
	list := make([]any, 0, len(k.objects))
	for _, o := range k.objects {
		list = append(list, o)
	}
	k.tell(f, func(s cache.ReflectorStore) error { return s.Replace(list, "") })
}

// tell hands something to a follower. One that fails keeps nothing from the others, and
// is told of everything later.
func (k *Kind) tell(f *follower, what func(cache.ReflectorStore) error) {
	err := guard.Call(f.ctx, "take up "+k.name, func() error { return what(f.store) })
	f.behind = err != nil
}

func (k *Kind) tellChange(what func(cache.ReflectorStore) error) {
	for f := range k.followers {
		if k.tells(f) && !f.behind {
			k.tell(f, what)
		}
	}
}

// retry tells followers that failed of everything again.
func (k *Kind) retry() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for f := range k.followers {
		if k.tells(f) && f.behind {
			k.tellAll(f)
		}
	}
}

// bare is an object without its managed fields, the largest part of some, which nobody here
// reads. The object itself stays as it is: others may have it, too.
func bare(o object) object {
	if o.GetManagedFields() == nil {
		return o
	}
	v := reflect.New(reflect.TypeOf(o).Elem())
	v.Elem().Set(reflect.ValueOf(o).Elem())
	out := v.Interface().(object) //nolint:forcetypeassert // it is of the type of o
	out.SetManagedFields(nil)
	return out
}

// put takes up an object or its change, and reports whether it is one.
func (k *Kind) put(obj any) (o object, had, changed bool, err error) {
	o, ok := obj.(object)
	if !ok {
		return nil, false, false, fmt.Errorf("%T is none of the %s", obj, k.name)
	}
	o = bare(o)
	if k.slim != nil {
		o = k.slim(o)
	}
	name := types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
	before, had := k.objects[name]
	if had && same(before, o) {
		return before, true, false, nil
	}
	k.objects[name] = o
	k.note(name)
	return o, had, true, nil
}

func (k *Kind) note(name types.NamespacedName) {
	if k.changed != nil {
		k.changed(name)
	}
}

// reader is what a reflector of the API writes to.
type reader struct{ *Kind }

// Add implements cache.ReflectorStore, as the following do.
func (r reader) Add(obj any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, had, changed, err := r.put(obj)
	switch {
	case err != nil || !changed:
	case had:
		r.tellChange(func(s cache.ReflectorStore) error { return s.Update(o) })
	default:
		r.tellChange(func(s cache.ReflectorStore) error { return s.Add(o) })
	}
	return err
}

// Update takes a change.
func (r reader) Update(obj any) error { return r.Add(obj) }

// Resync does nothing.
func (r reader) Resync() error { return nil }

// Delete takes an object away.
func (r reader) Delete(obj any) error {
	name, err := cache.DeletionHandlingObjectToName(obj)
	if err != nil {
		return fmt.Errorf("name of a deleted object: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	o, had := r.objects[name.AsNamespacedName()]
	if !had {
		return nil
	}
	delete(r.objects, name.AsNamespacedName())
	r.note(name.AsNamespacedName())
	r.tellChange(func(s cache.ReflectorStore) error { return s.Delete(o) })
	return nil
}

// Replace receives the result of a list.
func (r reader) Replace(list []any, _ string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := make(map[types.NamespacedName]bool, len(list))
	for _, obj := range list {
		o, _, _, err := r.put(obj)
		if err != nil {
			return err
		}
		have[types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}] = true
	}
	for name := range r.objects {
		if !have[name] {
			delete(r.objects, name)
			r.note(name)
		}
	}
	if !r.fresh {
		r.known, r.fresh = true, true
		r.note(types.NamespacedName{}) // also if there are none
	}
	for f := range r.followers {
		r.tellAll(f)
	}
	return nil
}
