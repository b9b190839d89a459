package plugins

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	chain "headway.dev/engine/admission"
	"headway.dev/engine/admit"
	"headway.dev/manifests/model/object"
)

var (
	priorityClassKind = schema.GroupKind{Group: schedulingv1.GroupName, Kind: "PriorityClass"}
	priorityClasses   = schema.GroupResource{Group: schedulingv1.GroupName, Resource: "priorityclasses"}
)

// priority is Priority: a new pod's class must exist, and the numbers are taken
// from it; a pod that names none gets the class that is the default, if there is
// one. Only one class is.
type priority struct{ stored object.Reader }

// Handles implements admission.Interface.
func (priority) Handles(op admission.Operation) bool { return op != admission.Connect }

// Wants implements admission.Selective.
func (priority) Wants(resource schema.GroupResource, subresource string) bool {
	return subresource == "" && (resource == pods || resource == priorityClasses)
}

// Admit implements admission.MutationInterface.
func (p priority) Admit(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	if attrs.GetOperation() == admission.Update {
		keepPriority(attrs)
		return nil
	}
	pod := newPod(attrs)
	if pod == nil {
		return nil
	}
	view := chain.View(ctx, p.stored)
	class := &schedulingv1.PriorityClass{PreemptionPolicy: new(corev1.PreemptLowerPriority)}
	if name := pod.Spec.PriorityClassName; name != "" {
		found, ok := view.Get(object.Key{GroupKind: priorityClassKind, Name: name}).(*schedulingv1.PriorityClass)
		if !ok {
			return admission.NewForbidden(attrs, fmt.Errorf("no PriorityClass with name %v was found", name))
		}
		class = found
	} else if found := admit.DefaultPriorityClass(view); found != nil {
		class = found
		pod.Spec.PriorityClassName = found.Name
	}
	if given := pod.Spec.Priority; given != nil && *given != class.Value {
		return admission.NewForbidden(attrs, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *given, class.Value))
	}
	pod.Spec.Priority = new(class.Value)
	policy := class.PreemptionPolicy
	if policy == nil {
		return nil
	}
	if given := pod.Spec.PreemptionPolicy; given != nil && *given != *policy {
		return admission.NewForbidden(attrs, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *given, *policy))
	}
	pod.Spec.PreemptionPolicy = new(*policy)
	return nil
}

// keepPriority keeps the numbers that an update leaves out; others are refused
// when the update is validated.
func keepPriority(attrs admission.Attributes) {
	pod, ok := attrs.GetObject().(*corev1.Pod)
	old, was := attrs.GetOldObject().(*corev1.Pod)
	if !ok || !was || attrs.GetSubresource() != "" {
		return
	}
	if pod.Spec.Priority == nil {
		pod.Spec.Priority = old.Spec.Priority
	}
	if pod.Spec.PreemptionPolicy == nil {
		pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
	}
}

// Validate implements admission.ValidationInterface. The store checks it again.
func (p priority) Validate(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	if attrs.GetResource().GroupResource() != priorityClasses || attrs.GetSubresource() != "" {
		return nil
	}
	next, _ := attrs.GetObject().(object.Object)
	old, _ := attrs.GetOldObject().(object.Object)
	_, err := admit.PriorityClasses(chain.View(ctx, p.stored), next, old)
	return err
}
