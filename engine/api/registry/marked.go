package registry

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"

	"headway.dev/manifests/model/lifecycle"
	"headway.dev/manifests/model/object"
)

// Marked is the REST storage of kinds that are marked when they are deleted
// (Lifecycle.MarkDeleted), and stay until a controller lets go of them.
type Marked struct {
	Resource
	now func() time.Time
}

// Delete implements rest.GracefulDeleter.
func (m Marked) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	found, err := m.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	current := found.(object.Object)
	if options == nil {
		options = &metav1.DeleteOptions{}
	}
	g := m.gated(ctx, "", options.DryRun)
	out, deleted, err := m.delete(ctx, current, g.remove(validate), options)
	if stored, done, err := g.finish(ctx, err); err != nil {
		return nil, false, err
	} else if done {
		return m.deleted(current, stored), stored == nil, nil
	}
	return out, deleted, nil
}

func (m Marked) delete(ctx context.Context, current object.Object, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	name := current.GetName()
	if err := m.precondition(current, options.Preconditions); err != nil {
		return nil, false, err
	}
	if next, err := lifecycle.Delete(current, *options, m.now()); err != nil {
		return nil, false, err
	} else if next == nil {
		return m.Store.Delete(ctx, name, validate, options)
	}
	key, err := m.KeyFunc(ctx, name)
	if err != nil {
		return nil, false, err
	}
	preconditions := storage.Preconditions{UID: new(current.GetUID())}
	if p := options.Preconditions; p != nil {
		preconditions.ResourceVersion = p.ResourceVersion
	}
	out := m.New()
	err = m.Storage.GuaranteedUpdate(ctx, key, out, false, &preconditions,
		storage.SimpleUpdate(func(existing runtime.Object) (runtime.Object, error) {
			old := existing.(object.Object)
			if validate != nil {
				if err := validate(ctx, old); err != nil {
					return nil, err
				}
			}
			next, err := lifecycle.Delete(old, *options, m.now())
			if err != nil || next == nil {
				return old, err
			}
			return next, nil
		}), dryrun.IsDryRun(options.DryRun), nil)
	if err != nil {
		err = storeerr.InterpretDeleteError(err, m.DefaultQualifiedResource, name)
		if _, ok := err.(apierrors.APIStatus); !ok {
			err = apierrors.NewInternalError(err)
		}
		return nil, false, err
	}
	return out, false, nil
}

// precondition fails with a Conflict unless current is as it is wanted, in the words that
// Kubernetes has for these kinds.
func (m Marked) precondition(current object.Object, want *metav1.Preconditions) error {
	if want == nil {
		return nil
	}
	failed := "Precondition failed"
	if m.kind.Group != "" {
		failed = "precondition failed"
	}
	if want.UID != nil && *want.UID != current.GetUID() {
		return apierrors.NewConflict(m.DefaultQualifiedResource, current.GetName(), fmt.Errorf("%s: UID in precondition: %v, UID in object meta: %v", failed, *want.UID, current.GetUID()))
	}
	if want.ResourceVersion != nil && *want.ResourceVersion != current.GetResourceVersion() {
		return apierrors.NewConflict(m.DefaultQualifiedResource, current.GetName(), fmt.Errorf("%s: ResourceVersion in precondition: %v, ResourceVersion in object meta: %v", failed, *want.ResourceVersion, current.GetResourceVersion()))
	}
	return nil
}

// DeleteCollection implements rest.CollectionDeleter. Objects that are gone
// meanwhile are no matter.
func (m Marked) DeleteCollection(ctx context.Context, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions, list *internalversion.ListOptions) (runtime.Object, error) {
	found, err := m.List(ctx, list)
	if err != nil {
		return nil, err
	}
	err = meta.EachListItem(found, func(obj runtime.Object) error {
		_, _, err := m.Delete(ctx, obj.(object.Object).GetName(), validate, options.DeepCopy())
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Namespaces is the REST storage of namespaces: a delete marks them
// Terminating, and the namespace controller removes spec.finalizers once
// nothing is left inside. As in Kubernetes they can only be deleted one by one.
type Namespaces struct {
	singleVerbs
	rest.GracefulDeleter
}

// singleVerbs are all verbs of a main resource but those that delete.
type singleVerbs interface {
	rest.Storage
	rest.Scoper
	rest.SingularNameProvider
	rest.ShortNamesProvider
	rest.Lister
	rest.Getter
	rest.Creater
	rest.Updater
	rest.Watcher
	rest.StorageVersionProvider
	rest.ResetFieldsStrategy
}

func newNamespaces(marked Marked) Namespaces {
	return Namespaces{singleVerbs: marked.Resource, GracefulDeleter: marked}
}
