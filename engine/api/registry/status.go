package registry

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"headway.dev/engine/api/strategy"
)

// Status is the REST storage of a subresource that is the whole object with
// another update strategy: status, the finalize of namespaces, and the approval of
// signing requests.
type Status struct {
	store *genericregistry.Store
	reset rest.ResetFieldsStrategy
}

func newStatus(main *genericregistry.Store, update rest.UpdateResetFieldsStrategy) Status {
	store := *main
	store.UpdateStrategy = update
	store.ResetFieldsStrategy = update
	return Status{store: &store, reset: update}
}

// New implements rest.Storage.
func (s Status) New() runtime.Object { return s.store.New() }

// Destroy implements rest.Storage; the main resource owns the store.
func (s Status) Destroy() {}

// Get implements rest.Getter.
func (s Status) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return s.store.Get(ctx, name, options)
}

// Update implements rest.Updater.
func (s Status) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	// A subresource never creates its object.
	return s.store.Update(ctx, name, info, create, update, false, options)
}

// GetResetFields implements rest.ResetFieldsStrategy.
func (s Status) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.reset.GetResetFields()
}

// ConvertToTable implements rest.TableConvertor.
func (s Status) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return s.store.ConvertToTable(ctx, obj, options)
}

// Part is the REST storage of a subresource that changes a part of an object.
type Part struct {
	whole    Status
	filter   map[fieldpath.APIVersion]fieldpath.Filter
	resource Resource
}

// newPart makes it. Without reviewed, the gate is not asked about it.
func newPart(resource Resource, reviewed bool, update strategy.Part) Part {
	if !reviewed {
		resource.gate = nil
	}
	return Part{whole: newStatus(resource.Store, update), filter: update.Filter(), resource: resource}
}

// New implements rest.Storage.
func (p Part) New() runtime.Object { return p.whole.New() }

// Destroy implements rest.Storage; the main resource owns the store.
func (p Part) Destroy() {}

// Get implements rest.Getter.
func (p Part) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return p.whole.Get(ctx, name, options)
}

// Update implements rest.Updater; see Resource.Create for dry runs.
func (p Part) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, force bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	if options == nil {
		options = &metav1.UpdateOptions{}
	}
	g := p.resource.gated(ctx, options.FieldManager, options.DryRun)
	out, _, err := p.whole.Update(ctx, name, info, create, g.update(update), force, options)
	if stored, done, err := g.finish(ctx, err); done || err != nil {
		return stored, false, err
	}
	if err != nil || !dryrun.IsDryRun(options.DryRun) {
		return out, false, err
	}
	out, err = p.resource.tried(ctx, out)
	return out, false, err
}

// GetResetFieldsFilter implements rest.ResetFieldsFilterStrategy.
func (p Part) GetResetFieldsFilter() map[fieldpath.APIVersion]fieldpath.Filter { return p.filter }

// ConvertToTable implements rest.TableConvertor.
func (p Part) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return p.whole.ConvertToTable(ctx, obj, options)
}

// replaced is a subresource that is only written, and only as a whole.
type replaced struct{ status Status }

// New implements rest.Storage.
func (r replaced) New() runtime.Object { return r.status.New() }

// Destroy implements rest.Storage.
func (r replaced) Destroy() {}

// Update implements rest.Updater.
func (r replaced) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, forceCreate bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return r.status.Update(ctx, name, info, create, update, forceCreate, options)
}

// GetResetFields implements rest.ResetFieldsStrategy.
func (r replaced) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return r.status.GetResetFields()
}
