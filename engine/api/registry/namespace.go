package registry

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"

	"headway.dev/manifests/model/lifecycle"
)

// Namespaces is the REST storage of namespaces: a delete marks them
// Terminating, and the namespace controller removes spec.finalizers once
// nothing is left inside. As in Kubernetes they can only be deleted one by one.
type Namespaces struct {
	singleVerbs
	store    *genericregistry.Store
	resource Resource
	now      func() time.Time
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

func newNamespaces(resource Resource, now func() time.Time) Namespaces {
	return Namespaces{singleVerbs: resource, store: resource.Store, resource: resource, now: now}
}

// Delete implements rest.GracefulDeleter.
func (n Namespaces) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	current, err := n.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	namespace := current.(*corev1.Namespace)
	if options == nil {
		options = &metav1.DeleteOptions{}
	}
	g := n.resource.gated(ctx, "", options.DryRun)
	out, deleted, err := n.delete(ctx, namespace, g.remove(validate), options)
	if stored, done, err := g.finish(ctx, err); err != nil {
		return nil, false, err
	} else if done {
		return n.resource.deleted(namespace, stored), stored == nil, nil
	}
	return out, deleted, nil
}

func (n Namespaces) delete(ctx context.Context, namespace *corev1.Namespace, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	name := namespace.Name
	if len(namespace.Spec.Finalizers) == 0 && len(namespace.Finalizers) == 0 {
		return n.store.Delete(ctx, name, validate, options)
	}
	key, err := n.store.KeyFunc(ctx, name)
	if err != nil {
		return nil, false, err
	}
	preconditions := storage.Preconditions{}
	if options.Preconditions != nil {
		preconditions = storage.Preconditions{UID: options.Preconditions.UID, ResourceVersion: options.Preconditions.ResourceVersion}
	}
	out := &corev1.Namespace{}
	err = n.store.Storage.GuaranteedUpdate(ctx, key, out, false, &preconditions,
		storage.SimpleUpdate(func(existing runtime.Object) (runtime.Object, error) {
			old := existing.(*corev1.Namespace)
			if validate != nil {
				if err := validate(ctx, old); err != nil {
					return nil, err
				}
			}
			next, err := lifecycle.Delete(old, *options, n.now())
			if err != nil || next == nil {
				return old, err
			}
			return next, nil
		}), dryrun.IsDryRun(options.DryRun), nil)
	if err != nil {
		err = storeerr.InterpretDeleteError(err, n.store.DefaultQualifiedResource, name)
		if _, ok := err.(apierrors.APIStatus); !ok {
			err = apierrors.NewInternalError(err)
		}
		return nil, false, err
	}
	return out, false, nil
}
