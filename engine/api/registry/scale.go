package registry

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"headway.dev/engine/api/printers"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Scale is the REST storage of the scale subresource.
type Scale struct {
	store    *genericregistry.Store
	kind     *kind.Kind
	resource Resource
}

func newScale(r Resource) Scale { return Scale{r.Store, r.kind, r} }

// New implements rest.Storage.
func (s Scale) New() runtime.Object { return &autoscalingv1.Scale{} }

// Destroy implements rest.Storage; the main resource owns the store.
func (s Scale) Destroy() {}

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (s Scale) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

// Get implements rest.Getter.
func (s Scale) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := s.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return scaleOf(obj)
}

// Update implements rest.Updater.
func (s Scale) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	if options == nil {
		options = &metav1.UpdateOptions{}
	}
	g := s.resource.gated(ctx, options.FieldManager, options.DryRun)
	obj, _, err := s.store.Update(ctx, name,
		&scaledObject{name: name, request: info, kind: s.kind},
		toScaleCreateValidation(create), g.update(toScaleUpdateValidation(update)), false, options)
	if stored, done, err := g.finish(ctx, err); err != nil {
		return nil, false, err
	} else if done {
		obj = stored
	}
	scale, err := scaleOf(obj)
	return scale, false, err
}

// ConvertToTable implements rest.TableConvertor.
func (s Scale) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return printers.Scale.ConvertToTable(ctx, obj, options)
}

// scaledObject turns the update of a scale into one of its object.
type scaledObject struct {
	name    string
	request rest.UpdatedObjectInfo
	kind    *kind.Kind
}

// Preconditions implements rest.UpdatedObjectInfo.
func (i *scaledObject) Preconditions() *metav1.Preconditions { return i.request.Preconditions() }

// UpdatedObject implements rest.UpdatedObjectInfo.
func (i *scaledObject) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	obj := old.DeepCopyObject().(object.Object)
	if obj.GetResourceVersion() == "" {
		return nil, apierrors.NewNotFound(i.kind.Resource().GroupResource(), i.name)
	}
	groupVersion := i.kind.GroupVersion()
	// The owner of spec.replicas of the object and that of the scale are the
	// same: managed fields move along in both directions.
	fields := managedfields.NewScaleHandler(obj.GetManagedFields(), groupVersion, managedfields.ResourcePathMappings{
		groupVersion.String(): fieldpath.MakePathOrDie("spec", "replicas"),
	})
	oldScale, err := scaleOf(obj)
	if err != nil {
		return nil, err
	}
	if oldScale.ManagedFields, err = fields.ToSubresource(); err != nil {
		return nil, err
	}
	updated, err := i.request.UpdatedObject(ctx, oldScale)
	if err != nil {
		return nil, err
	}
	scale, ok := updated.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected input object type to be Scale, but %T", updated))
	}
	errs := apivalidation.ValidateObjectMeta(&scale.ObjectMeta, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	if scale.Spec.Replicas < 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "replicas"), scale.Spec.Replicas, apivalidation.IsNegativeErrorMsg).WithOrigin("minimum"))
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), i.name, errs)
	}
	if scale.UID != "" && scale.UID != obj.GetUID() {
		resource := i.kind.Resource().GroupResource()
		resource.Resource += "/scale"
		return nil, apierrors.NewConflict(resource, i.name, fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", scale.UID, obj.GetUID())) //nolint:staticcheck // Kubernetes' words
	}
	// Validate the version precondition of the scale, if it carries one.
	if scale.ResourceVersion != "" {
		obj.SetResourceVersion(scale.ResourceVersion)
	}
	*i.kind.Scale(obj).Replicas = &scale.Spec.Replicas
	entries, err := fields.ToParent(scale.ManagedFields)
	if err != nil {
		return nil, err
	}
	obj.SetManagedFields(entries)
	return obj, nil
}

func scaleOf(obj runtime.Object) (*autoscalingv1.Scale, error) {
	o, ok := obj.(object.Object)
	if !ok {
		return nil, fmt.Errorf("read the scale of a %T: not an API object", obj)
	}
	k, ok := scheme.ForObject(o)
	if !ok || k.Scale == nil {
		return nil, fmt.Errorf("read the scale of a %T: not supported", obj)
	}
	of := k.Scale(o)
	selector, err := metav1.LabelSelectorAsSelector(of.Selector)
	if err != nil {
		return nil, err
	}
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(),
			ResourceVersion: o.GetResourceVersion(), CreationTimestamp: o.GetCreationTimestamp(),
		},
		Status: autoscalingv1.ScaleStatus{Replicas: of.Current, Selector: selector.String()},
	}
	if n := *of.Replicas; n != nil {
		scale.Spec.Replicas = *n
	}
	return scale, nil
}

func toScaleCreateValidation(f rest.ValidateObjectFunc) rest.ValidateObjectFunc {
	return func(ctx context.Context, obj runtime.Object) error {
		scale, err := scaleOf(obj)
		if err != nil || f == nil {
			return err
		}
		return f(ctx, scale)
	}
}

func toScaleUpdateValidation(f rest.ValidateObjectUpdateFunc) rest.ValidateObjectUpdateFunc {
	return func(ctx context.Context, obj, old runtime.Object) error {
		newScale, err := scaleOf(obj)
		if err != nil || f == nil {
			return err
		}
		oldScale, err := scaleOf(old)
		if err != nil {
			return err
		}
		return f(ctx, newScale, oldScale)
	}
}
