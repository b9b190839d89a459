package view

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

// Storage is the REST storage of a view.
type Storage struct {
	stored Stored
	view   *kind.View
}

// Stored is the REST storage of the kind that a view is of.
type Stored interface {
	rest.StandardStorage
	rest.StorageVersionProvider
}

var _ interface {
	Stored
	rest.Scoper
	rest.ShortNamesProvider
	rest.SingularNameProvider
	rest.ResetFieldsStrategy
} = Storage{}

// New serves v from the storage of its kind.
func New(v *kind.View, stored Stored) Storage { return Storage{stored, v} }

// New implements rest.Storage.
func (s Storage) New() runtime.Object { return s.view.New() }

// NewList implements rest.Lister.
func (s Storage) NewList() runtime.Object { return s.view.NewList() }

// Destroy implements rest.Storage; the kind's own storage owns the store.
func (s Storage) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (s Storage) NamespaceScoped() bool { return s.view.Namespaced }

// GetSingularName implements rest.SingularNameProvider.
func (s Storage) GetSingularName() string { return s.view.Singular }

// ShortNames implements rest.ShortNamesProvider.
func (s Storage) ShortNames() []string { return s.view.ShortNames }

// StorageVersion implements rest.StorageVersionProvider.
func (s Storage) StorageVersion() runtime.GroupVersioner { return s.stored.StorageVersion() }

// GetResetFields implements rest.ResetFieldsStrategy.
func (s Storage) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set { return nil }

// Get implements rest.Getter.
func (s Storage) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := s.stored.Get(ctx, name, options)
	return s.out(obj), err
}

// List implements rest.Lister.
func (s Storage) List(ctx context.Context, options *internalversion.ListOptions) (runtime.Object, error) {
	list, err := s.stored.List(ctx, options)
	if err != nil {
		return nil, err
	}
	return s.list(list)
}

// Watch implements rest.Watcher.
func (s Storage) Watch(ctx context.Context, options *internalversion.ListOptions) (watch.Interface, error) {
	w, err := s.stored.Watch(ctx, options)
	if err != nil {
		return nil, err
	}
	return newConverted(w, s.out), nil
}

// Create implements rest.Creater.
func (s Storage) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	stored, err := s.in(obj)
	if err != nil {
		return nil, err
	}
	created, err := s.stored.Create(ctx, stored, s.validation(validate), options)
	return s.out(created), err
}

// Update implements rest.Updater.
func (s Storage) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, force bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	obj, created, err := s.stored.Update(ctx, name, viewed{info, s}, s.validation(create), s.updateValidation(update), force, options)
	return s.out(obj), created, err
}

// Delete implements rest.GracefulDeleter.
func (s Storage) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	obj, now, err := s.stored.Delete(ctx, name, s.validation(validate), options)
	return s.out(obj), now, err
}

// DeleteCollection implements rest.CollectionDeleter.
func (s Storage) DeleteCollection(ctx context.Context, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions, which *internalversion.ListOptions) (runtime.Object, error) {
	list, err := s.stored.DeleteCollection(ctx, s.validation(validate), options, which)
	if err != nil {
		return nil, err
	}
	return s.list(list)
}

// ConvertToTable implements rest.TableConvertor: the columns are those of the
// kind.
func (s Storage) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	var err error
	if meta.IsListType(obj) {
		list := s.stored.NewList()
		var items []runtime.Object
		if err := meta.EachListItem(obj, func(item runtime.Object) error {
			stored, err := s.in(item)
			items = append(items, stored)
			return err
		}); err != nil {
			return nil, err
		}
		if err := meta.SetList(list, items); err != nil {
			return nil, err
		}
		if err := copyListMeta(list, obj); err != nil {
			return nil, err
		}
		obj = list
	} else if obj, err = s.in(obj); err != nil {
		return nil, err
	}
	table, err := s.stored.ConvertToTable(ctx, obj, options)
	if err != nil {
		return nil, err
	}
	for i := range table.Rows {
		table.Rows[i].Object.Object = s.out(table.Rows[i].Object.Object)
	}
	return table, nil
}

// in returns the object to store of one in the form of the view.
func (s Storage) in(obj runtime.Object) (object.Object, error) {
	o, ok := obj.(object.Object)
	if !ok {
		return nil, fmt.Errorf("store a %T: not an API object", obj)
	}
	if s.view.Is(o) {
		o = s.view.To(o)
	}
	return o, nil
}

// out returns the view of a stored object. Anything else (nil, a Status) is
// returned as it is.
func (s Storage) out(obj runtime.Object) runtime.Object {
	if c, ok := obj.(runtime.CacheableObject); ok {
		obj = c.GetObject()
	}
	if o, ok := obj.(object.Object); ok && s.view.IsOf(o) {
		return s.view.From(o)
	}
	return obj
}

// list returns the view of a list of stored objects.
func (s Storage) list(stored runtime.Object) (runtime.Object, error) {
	var items []object.Object
	err := meta.EachListItem(stored, func(item runtime.Object) error {
		view, ok := s.out(item).(object.Object)
		if !ok {
			return fmt.Errorf("a list of %s has a %T", s.view.Plural, item)
		}
		items = append(items, view)
		return nil
	})
	if err != nil {
		return nil, err
	}
	list := s.NewList()
	s.view.SetItems(list, items)
	return list, copyListMeta(list, stored)
}

func copyListMeta(to, from runtime.Object) error {
	source, err := meta.ListAccessor(from)
	if err != nil {
		return err
	}
	target, err := meta.ListAccessor(to)
	if err != nil {
		return err
	}
	target.SetResourceVersion(source.GetResourceVersion())
	target.SetContinue(source.GetContinue())
	target.SetRemainingItemCount(source.GetRemainingItemCount())
	return nil
}

// validation hands admission the form in which the request speaks.
func (s Storage) validation(f rest.ValidateObjectFunc) rest.ValidateObjectFunc {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, obj runtime.Object) error { return f(ctx, s.out(obj)) }
}

func (s Storage) updateValidation(f rest.ValidateObjectUpdateFunc) rest.ValidateObjectUpdateFunc {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, obj, old runtime.Object) error { return f(ctx, s.out(obj), s.out(old)) }
}

// viewed turns the update of a view into one of what is stored.
type viewed struct {
	rest.UpdatedObjectInfo
	of Storage
}

// UpdatedObject implements rest.UpdatedObjectInfo.
func (u viewed) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	obj, err := u.UpdatedObjectInfo.UpdatedObject(ctx, u.of.out(old))
	if err != nil {
		return nil, err
	}
	return u.of.in(obj)
}
