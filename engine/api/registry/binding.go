package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"
)

// Binding is the REST storage of pods/binding, by which a scheduler places a
// pod on a node.
type Binding struct{ pods *genericregistry.Store }

// New implements rest.Storage.
func (b Binding) New() runtime.Object { return &corev1.Binding{} }

// Destroy implements rest.Storage; pods own the store.
func (b Binding) Destroy() {}

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate implements
// rest.SubresourceObjectMetaPreserver: the UID and the resourceVersion of a
// binding are preconditions.
func (b Binding) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// Create implements rest.NamedCreater.
func (b Binding) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	binding, ok := obj.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %#v", obj))
	}
	if name != binding.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if errs := validateBinding(binding); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "Binding"}, name, errs)
	}
	if validate != nil {
		if err := validate(ctx, binding); err != nil {
			return nil, err
		}
	}
	key, err := b.pods.KeyFunc(ctx, name)
	if err != nil {
		return nil, err
	}
	var preconditions *storage.Preconditions
	if binding.UID != "" || binding.ResourceVersion != "" {
		preconditions = &storage.Preconditions{}
		if binding.UID != "" {
			preconditions.UID = &binding.UID
		}
		if binding.ResourceVersion != "" {
			preconditions.ResourceVersion = &binding.ResourceVersion
		}
	}
	resource := schema.GroupResource{Resource: "pods"}
	err = b.pods.Storage.GuaranteedUpdate(ctx, key, &corev1.Pod{}, false, preconditions,
		storage.SimpleUpdate(func(existing runtime.Object) (runtime.Object, error) {
			pod := existing.(*corev1.Pod)
			if pod.DeletionTimestamp != nil {
				return nil, fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name)
			}
			if pod.Spec.NodeName != "" {
				return nil, fmt.Errorf("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
			}
			if len(pod.Spec.SchedulingGates) > 0 {
				return nil, fmt.Errorf("pod %v has non-empty .spec.schedulingGates", pod.Name)
			}
			return bind(pod, binding), nil
		}), dryrun.IsDryRun(options.DryRun), nil)
	if err != nil {
		err = storeerr.InterpretGetError(err, resource, name)
		err = storeerr.InterpretUpdateError(err, resource, name)
		var status apierrors.APIStatus
		if !errors.As(err, &status) {
			err = apierrors.NewConflict(schema.GroupResource{Resource: "pods/binding"}, name, err)
		}
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

// bind places a copy of pod as binding says.
func bind(pod *corev1.Pod, binding *corev1.Binding) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.Spec.NodeName = binding.Target.Name
	pod.Status.NominatedNodeName = ""
	if len(binding.Annotations) > 0 {
		annotations := maps.Clone(pod.Annotations)
		if annotations == nil {
			annotations = map[string]string{}
		}
		maps.Copy(annotations, binding.Annotations)
		pod.Annotations = annotations
	}
	if len(binding.Labels) > 0 {
		labels := maps.Clone(pod.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, binding.Labels)
		pod.Labels = labels
	}
	pod.Status.Conditions = withCondition(pod.Status.Conditions, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionTrue, ObservedGeneration: pod.Generation, LastTransitionTime: metav1.Now(),
	})
	return pod
}

func validateBinding(b *corev1.Binding) field.ErrorList {
	var errs field.ErrorList
	if kind := b.Target.Kind; kind != "" && kind != "Node" {
		errs = append(errs, field.NotSupported(field.NewPath("target", "kind"), kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		errs = append(errs, field.Required(field.NewPath("target", "name"), ""))
	}
	return errs
}

// Bindings is the REST storage of the older form, bindings.
type Bindings struct{ binding Binding }

// New implements rest.Storage.
func (b Bindings) New() runtime.Object { return b.binding.New() }

// Destroy implements rest.Storage.
func (b Bindings) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (b Bindings) NamespaceScoped() bool { return true }

// GetSingularName implements rest.SingularNameProvider.
func (b Bindings) GetSingularName() string { return "binding" }

// Create implements rest.Creater.
func (b Bindings) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	binding, ok := obj.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %#v", obj))
	}
	return b.binding.Create(ctx, binding.Name, obj, validate, options)
}

// withCondition returns conditions with c in the place of the one of its type. The time
// of the last transition stays while the status does.
func withCondition(conditions []corev1.PodCondition, c corev1.PodCondition) []corev1.PodCondition {
	at := slices.IndexFunc(conditions, func(old corev1.PodCondition) bool { return old.Type == c.Type })
	if at < 0 {
		return append(slices.Clone(conditions), c)
	}
	if conditions[at].Status == c.Status {
		c.LastTransitionTime = conditions[at].LastTransitionTime
	}
	conditions = slices.Clone(conditions)
	conditions[at] = c
	return conditions
}
