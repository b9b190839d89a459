package registry

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// Create implements rest.Creater. The library's dry run ends before the store;
// here it goes on to the store's checks, which may refuse the object and give
// it what only they know, such as a Service's cluster IP.
func (r Resource) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	out, err := r.Store.Create(ctx, obj, validate, options)
	if err != nil || options == nil || !dryrun.IsDryRun(options.DryRun) {
		return out, err
	}
	return r.tried(ctx, out)
}

// Update implements rest.Updater; see Create for dry runs.
func (r Resource) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, force bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	if options == nil {
		options = &metav1.UpdateOptions{}
	}
	g := r.gated(ctx, options.FieldManager, options.DryRun)
	out, created, err := r.Store.Update(ctx, name, info, create, g.update(update), force, options)
	if stored, done, err := g.finish(ctx, err); done || err != nil {
		return stored, false, err
	}
	if err != nil || !dryrun.IsDryRun(options.DryRun) {
		return out, created, err
	}
	out, err = r.tried(ctx, out)
	return out, created, err
}

// tried is obj as a write of it would leave it in the store, with the
// resourceVersion that it has now.
func (r Resource) tried(ctx context.Context, obj runtime.Object) (runtime.Object, error) {
	next, ok := obj.(object.Object)
	if !ok || r.try == nil {
		return obj, nil
	}
	key := object.KeyOf(r.kind.GroupKind(), next)
	results, err := r.try(ctx, change.Tx{Changes: []change.Change{{
		Key: key, Mutate: func(object.Object) (object.Object, error) { return next, nil },
	}}})
	if err != nil {
		return nil, err
	}
	out, _ := results[0].Object.DeepCopyObject().(object.Object)
	out.SetResourceVersion(next.GetResourceVersion())
	return out, nil
}
