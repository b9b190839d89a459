package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/model/validation"
)

// mostAttempts is how often a transaction is admitted anew because what it
// changes has changed meanwhile.
const mostAttempts = 100

// errStale ends a transaction that was admitted upon what is no longer stored.
var errStale = errors.New("admission: the object has changed meanwhile")

// errAborted is what becomes of a transaction whose writer panicked.
var errAborted = errors.New("admission: the transaction was not finished")

// Store is what a Writer needs of the store.
type Store interface {
	object.Reader
	Revision() uint64
	Watch(from uint64, kinds ...schema.GroupKind) (object.Watcher, error)
	Commit(ctx context.Context, tx change.Tx) ([]object.Object, error)
	Records(log string, from int64, limit int) ([][]byte, error)
}

// Writer is the store for who writes inside the process: what they write is
// admitted first.
type Writer struct {
	Store
	chain *Chain
	along func(object.Reader, object.Event) []change.Change
	user  change.User
}

// NewWriter returns a Writer for the user. along is the store's
// (store.Options.Along), or nil.
func NewWriter(store Store, chain *Chain, along func(object.Reader, object.Event) []change.Change, user change.User) *Writer {
	return &Writer{store, chain, along, user}
}

// As returns a Writer for another user.
func (w *Writer) As(user change.User) *Writer {
	return &Writer{w.Store, w.chain, w.along, user}
}

// Commit is the store's, for what the chain admits. An error of a plugin comes
// back as it is. A Mutate may run more than once.
func (w *Writer) Commit(ctx context.Context, tx change.Tx) ([]object.Object, error) {
	return w.CommitWith(ctx, tx, func(tx change.Tx) (change.Tx, func(error), error) { return tx, func(error) {}, nil })
}

// CommitWith is Commit for who has to add something to the transaction at the last
// moment: last is called with what was admitted, right before it is stored, and
// what it returns is called right after. What takes long comes before that, and as long
// as the change.Patience of ctx.
func (w *Writer) CommitWith(ctx context.Context, tx change.Tx, last func(change.Tx) (change.Tx, func(error), error)) ([]object.Object, error) {
	store := func(tx change.Tx) ([]object.Object, error) {
		sealed, done, err := last(tx)
		if err != nil {
			return nil, err
		}
		err = errAborted // by a panic
		defer func() { done(err) }()
		var objs []object.Object
		objs, err = w.Store.Commit(ctx, sealed)
		return objs, err
	}
	if !w.concerned(tx) {
		return store(tx)
	}
	for range mostAttempts {
		admitted, err := w.admit(ctx, tx)
		if err != nil {
			return nil, err
		}
		objs, err := store(admitted)
		if !errors.Is(err, errStale) {
			return objs, err
		}
	}
	key := tx.Changes[0].Key
	resource := schema.GroupResource{Group: key.Group, Resource: key.Kind}
	if k, ok := w.chain.kindOf(key.GroupKind, w.Store); ok {
		resource = k.Resource().GroupResource()
	}
	return nil, apierrors.NewConflict(resource, key.Name, fmt.Errorf("it changed %d times while it was admitted; please apply your changes to the latest version and try again", mostAttempts))
}

// concerned reports whether a plugin has to see a change of tx.
func (w *Writer) concerned(tx change.Tx) bool {
	for i := range tx.Changes {
		if w.wants(&tx.Changes[i], w.Store) || w.comes(tx, tx.Changes[i].Key.GroupKind) {
			return true
		}
	}
	return false
}

// comes reports whether a kind may be defined by the transaction itself.
func (w *Writer) comes(tx change.Tx, of schema.GroupKind) bool {
	if _, known := w.chain.Kinds.Set().ForKind(of); known {
		return false
	}
	return slices.ContainsFunc(tx.Changes, func(c change.Change) bool { return c.Key.GroupKind == scheme.Definition })
}

// wants reports whether a plugin has to see a change of what is in view.
func (w *Writer) wants(c *change.Change, view object.Reader) bool {
	k, ok := w.chain.kindOf(c.Key.GroupKind, view)
	return ok && w.chain.wants(k.Resource().GroupResource(), c.Subresource)
}

// attempt is one try of a transaction upon what can be read.
type attempt struct {
	*Writer
	own  map[object.Key]bool // keys of the transaction itself
	view *overlay
}

// admit tries tx, and returns it as admitted.
func (w *Writer) admit(ctx context.Context, tx change.Tx) (change.Tx, error) {
	a := attempt{w, make(map[object.Key]bool, len(tx.Changes)), newOverlay(w.Store)}
	admitted := tx
	admitted.Changes = make([]change.Change, len(tx.Changes))
	for _, c := range tx.Changes {
		a.own[c.Key] = true
	}
	ctx = WithView(ctx, a.view)
	for i, c := range tx.Changes {
		_, later := a.view.changed[c.Key]
		current := a.view.Get(c.Key)
		var next object.Object
		var asked bool
		// Whoever made the change gets the error of a panic in it, as from the store.
		err := guard.Call(ctx, "change of "+c.Key.String(), func() (err error) {
			next, asked, err = a.change(ctx, c, current)
			return err
		})
		if err != nil {
			return change.Tx{}, err
		}
		admitted.Changes[i] = c
		switch {
		case asked:
			admitted.Changes[i].Mutate = stored(current, next, later)
		case w.wants(&c, a.view):
			admitted.Changes[i].Mutate = still(operation(current, next), c.Mutate)
		}
	}
	return admitted, nil
}

// change tries one change, and returns what it makes of current, and whether a
// plugin was asked about it.
func (a *attempt) change(ctx context.Context, c change.Change, current object.Object) (next object.Object, asked bool, err error) {
	next, err = c.Mutate(current)
	if err != nil || next == current {
		return next, false, err
	}
	if a.wants(&c, a.view) {
		by := a.user
		if c.By != nil {
			by = *c.By
		}
		w := write{key: c.Key, subresource: c.Subresource, by: by, next: next, old: current}
		w.kind, _ = a.chain.kindOf(w.key.GroupKind, a.view)
		if asked = a.chain.concerned(w.attributes(c.Key.Name)); asked {
			if over := change.PatienceIn(ctx).Ask(func() { next, err = a.chain.ask(ctx, w) }); over != nil {
				return nil, asked, over
			}
			if err != nil || next == current {
				return next, asked, err
			}
		}
	}
	a.put(c.Key, next, current)
	return next, asked, nil
}

// put makes next the state of key, with what the store writes along with it.
func (a *attempt) put(key object.Key, next, current object.Object) {
	a.view.put(key, next)
	if a.along == nil || next == nil && current == nil {
		return
	}
	for _, c := range a.along(a.view, eventOf(key, next, current)) {
		if a.own[c.Key] && !c.Always {
			continue
		}
		if obj, err := c.Mutate(a.view.Get(c.Key)); err == nil {
			a.view.put(c.Key, obj)
		}
	}
}

// eventOf is the event of a change.
func eventOf(key object.Key, next, old object.Object) object.Event {
	switch {
	case next == nil:
		return object.Event{Type: object.Deleted, Key: key, Object: old, Old: old}
	case old == nil:
		return object.Event{Type: object.Added, Key: key, Object: next}
	}
	return object.Event{Type: object.Modified, Key: key, Object: next, Old: old}
}

// ask lets the plugins change a copy of what is to be stored, and then refuse
// it. The name of an object that is created with a generated one is not told to
// those who change it, as in Kubernetes, where it comes later.
func (c *Chain) ask(ctx context.Context, w write) (object.Object, error) {
	name := w.key.Name
	attrs := w.attributes(name)
	switch may, users := c.mutates(attrs); {
	case !may:
	case attrs.GetObject() == nil || w.subresource == "binding":
		// They have nothing to change, but may refuse it all the same.
		asked := attrs.GetObject()
		if asked != nil {
			asked = asked.DeepCopyObject()
		}
		if err := c.mutate(ctx, attrs, c.interfacesOf(ctx, w.kind), inProcess); err != nil {
			return nil, err
		}
		if !equality.Semantic.DeepEqual(asked, attrs.GetObject()) {
			return nil, apierrors.NewInternalError(fmt.Errorf("admission changed a Binding, which is not supported for one that the scheduler makes"))
		}
	default:
		given := w.next
		w.next, _ = given.DeepCopyObject().(object.Object)
		generated := w.old == nil && given.GetGenerateName() != ""
		if generated {
			w.next.SetName("")
			attrs = w.attributes("")
		} else {
			attrs = w.attributes(name)
		}
		if err := c.mutate(ctx, attrs, c.interfacesOf(ctx, w.kind), inProcess); err != nil {
			return nil, err
		}
		if generated {
			w.next.SetName(name)
		}
		if !equality.Semantic.DeepEqual(given, w.next) {
			switch {
			case w.old != nil:
				if w.next = change.Again(w.kind, w.next, w.old); w.next == w.old {
					return w.old, nil
				}
			case w.next != nil && w.subresource == "":
				change.Anew(w.kind, w.next)
			}
			if users {
				if err := w.valid(given); err != nil {
					return nil, err
				}
			}
		}
	}
	if err := c.validate(ctx, w.attributes(name), c.interfacesOf(ctx, w.kind), inProcess); err != nil {
		return nil, err
	}
	return w.next, nil
}

// valid judges what plugins made of given, which was valid: they may be users'.
func (w write) valid(given object.Object) error {
	if w.next == nil {
		return nil
	}
	if key, err := scheme.KeyOf(w.next); err != nil || key != w.key || w.next.GetUID() != given.GetUID() {
		return apierrors.NewInternalError(fmt.Errorf("admission changed the name, the namespace or the UID of %s", w.key))
	}
	var faults field.ErrorList
	part, isPart := w.kind.Part(w.subresource)
	switch {
	case isPart:
		faults = validation.UpdatePart(w.next, w.old, part)
	case w.subresource == "status":
		faults = validation.UpdateStatus(w.next, w.old)
	case w.old == nil:
		faults = validation.CreateOf(w.kind, w.next)
	default:
		faults = validation.UpdateOf(w.kind, w.next, w.old)
	}
	if len(faults) == 0 {
		return nil
	}
	return apierrors.NewInvalid(w.key.GroupKind, w.key.Name, faults)
}

// stored is the Mutate of a change that was admitted: next in the place of seen.
// later says that seen came from an earlier change of the transaction.
func stored(seen, next object.Object, later bool) func(object.Object) (object.Object, error) {
	return func(current object.Object) (object.Object, error) {
		if !later && !same(current, seen) {
			return nil, errStale
		}
		if next == seen {
			return current, nil
		}
		return next, nil
	}
}

// still is a change that no plugin was asked about, since none cares for what it
// did: it may do nothing else now. So it is not bound to the object that was seen,
// and a deletion conflicts with nobody's update.
func still(op admission.Operation, mutate func(object.Object) (object.Object, error)) func(object.Object) (object.Object, error) {
	return func(current object.Object) (object.Object, error) {
		next, err := mutate(current)
		if err == nil && next != current && operation(current, next) != op {
			return nil, errStale
		}
		return next, err
	}
}

// same reports whether two stored states of an object are the same.
func same(a, b object.Object) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a == b || a.GetResourceVersion() == b.GetResourceVersion() && a.GetUID() == b.GetUID()
}
