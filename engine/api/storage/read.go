package storage

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/object"
)

// Kubernetes' own messages for state that is no longer there.
const (
	listExpired          = "The resourceVersion for the provided list is too old."
	watchExpired         = "The resourceVersion for the provided watch is too old."
	continueExpired      = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter."
	inconsistentContinue = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
)

// Get implements storage.Interface.
func (s *Storage) Get(_ context.Context, path string, opts storage.GetOptions, out runtime.Object) error {
	prepared, key, err := s.parse(path, false)
	if err != nil {
		return err
	}
	if err := s.atLeast(opts.ResourceVersion, s.store.Revision()); err != nil {
		return err
	}
	obj := s.store.Get(key)
	switch {
	case obj != nil:
		return s.setShown(out, obj)
	case opts.IgnoreNotFound:
		return runtime.SetZeroValue(out)
	default:
		return storage.NewKeyNotFoundError(prepared, 0)
	}
}

// atLeast fails if resourceVersion has not been reached.
func (s *Storage) atLeast(resourceVersion string, current uint64) error {
	if resourceVersion == "" {
		return nil
	}
	minimum, err := s.versioner.ParseResourceVersion(resourceVersion)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
	}
	if minimum > current {
		return storage.NewTooLargeResourceVersionError(minimum, current, 0)
	}
	return nil
}

// GetList implements storage.Interface.
func (s *Storage) GetList(ctx context.Context, path string, opts storage.ListOptions, list runtime.Object) error {
	prepared, key, err := s.parse(path, opts.Recursive)
	if err != nil {
		return err
	}
	itemsPtr, err := meta.GetItemsPtr(list)
	if err != nil {
		return err
	}
	items, err := conversion.EnforcePtr(itemsPtr)
	if err != nil {
		return fmt.Errorf("need ptr to slice: %w", err)
	}
	if items.Kind() != reflect.Slice {
		return fmt.Errorf("need ptr to slice, got %s", items.Type())
	}
	revision, continueKey, err := storage.ValidateListOptions(prepared, s.versioner, opts)
	if err != nil {
		return err
	}
	snapshot, err := s.snapshot(revision, prepared, continueKey, opts)
	if err != nil {
		return err
	}
	page := page{storage: s, predicate: opts.Predicate, items: items, apart: apartOf(ctx)}
	if opts.Recursive {
		err = s.fill(ctx, &page, snapshot, key, continueKey)
	} else if obj := snapshot.Get(key.Namespace, key.Name); obj != nil {
		err = page.add(key, obj)
	}
	if err != nil {
		return err
	}
	if err := turn(ctx, items); err != nil {
		return err
	}
	token, remaining, err := storage.PrepareContinueToken(s.path(page.last), prepared, int64(snapshot.Revision()), page.count, page.more, opts)
	if err != nil {
		return err
	}
	if items.IsNil() {
		items.Set(reflect.MakeSlice(items.Type(), 0, 0))
	}
	return s.versioner.UpdateList(list, snapshot.Revision(), token, remaining)
}

// snapshot is the state to list: at revision, or the newest for 0 and less.
func (s *Storage) snapshot(revision int64, prefix, continueKey string, opts storage.ListOptions) (*store.Snapshot, error) {
	if revision <= 0 {
		snapshot := s.store.Snapshot(s.kind)
		if len(opts.Predicate.Continue) > 0 {
			return snapshot, nil
		}
		return snapshot, s.atLeast(opts.ResourceVersion, snapshot.Revision())
	}
	snapshot, err := s.store.SnapshotAt(s.kind, uint64(revision))
	switch {
	case errors.Is(err, object.ErrExpired):
		return nil, expiredList(prefix, continueKey)
	case errors.Is(err, store.ErrFuture):
		return nil, storage.NewTooLargeResourceVersionError(uint64(revision), s.store.Revision(), 0)
	}
	return snapshot, err
}

// expiredList is the 410 for a list of an old state. With a continue token it
// offers another one, with which the rest can be listed as it is now.
func expiredList(prefix, continueKey string) error {
	if continueKey == "" {
		return apierrors.NewResourceExpired(listExpired)
	}
	token, err := storage.EncodeContinue(continueKey, prefix, -1)
	if err != nil {
		return apierrors.NewResourceExpired(continueExpired)
	}
	status := apierrors.NewResourceExpired(inconsistentContinue)
	status.ErrStatus.Continue = token
	return status
}

// page is one chunk of a list.
type page struct {
	storage   *Storage
	predicate storage.SelectionPredicate
	items     reflect.Value
	// apart takes the items, if it is set.
	apart *Apart
	// last is the last key looked at; more says that there are further ones.
	last object.Key
	more bool
	// count is how many objects there are from the page's first key on, if
	// somebody wants to know.
	count int64
}

func (p *page) full() bool {
	n := p.items.Len()
	if p.apart != nil {
		n = len(p.apart.Items)
	}
	return p.predicate.Limit > 0 && int64(n) >= p.predicate.Limit
}

// add appends obj if it is selected. The item shares all but its top struct
// with the stored object.
func (p *page) add(key object.Key, obj object.Object) error {
	p.last = key
	p.count++
	obj, err := p.storage.show(obj)
	if err != nil {
		return err
	}
	// What cannot be matched is left out, as etcd's storage does.
	if matched, err := p.predicate.Matches(obj); !matched || err != nil {
		return nil //nolint:nilerr // see above
	}
	if p.apart != nil {
		p.apart.Items = append(p.apart.Items, obj)
		return nil
	}
	item := reflect.ValueOf(obj).Elem()
	if !item.Type().AssignableTo(p.items.Type().Elem()) {
		return fmt.Errorf("storage: cannot return %T in a list of %s", obj, p.items.Type().Elem())
	}
	p.items.Set(reflect.Append(p.items, item))
	return nil
}

// fill adds the objects below key to p, from continueKey on. It looks only at
// those in the predicate's scope, and at no more than the page has.
func (s *Storage) fill(ctx context.Context, p *page, snapshot *store.Snapshot, key object.Key, continueKey string) error {
	if key.Name != "" {
		return nil // nothing is below an object
	}
	start := object.Key{Namespace: key.Namespace}
	if continueKey != "" {
		var err error
		if _, start, err = s.parse(continueKey, false); err != nil {
			return err
		}
	} else if p.apart == nil && p.predicate.Empty() && p.predicate.Limit == 0 && key.Namespace == "" {
		p.items.Grow(snapshot.Len())
	}
	objects, err := snapshot.In(s.scope(key, p.predicate), start.Namespace, start.Name)
	if err != nil {
		return err
	}
	for item, err := range ahead(s.forms, objects, p.predicate.Limit) {
		next := item.key
		if err == nil {
			err = p.add(next, item.object)
		}
		if err != nil {
			return err
		}
		if p.full() {
			// As with etcd, what follows tells whether there may be another
			// page, selected or not.
			left := snapshot.Count(key.Namespace, next.Namespace, next.Name+"\x00")
			p.more = left > 0
			p.count += int64(left)
			break
		}
		if (p.count%1024 == 0 || s.forms != nil) && ctx.Err() != nil {
			return storage.NewTimeoutError(s.prefix, "request did not complete within requested timeout")
		}
	}
	return nil
}
