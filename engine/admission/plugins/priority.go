package plugins

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"

	"headway.dev/manifests/model/kinds/core"
)

// priority is Priority: a new pod's class must exist, and the numbers are taken
// from it.
type priority struct{ ofPods }

// Admit implements admission.MutationInterface.
func (priority) Admit(_ context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := newPod(attrs)
	if pod == nil {
		return nil
	}
	class := pod.Spec.PriorityClassName
	computed, ok := core.PriorityOf(class)
	if !ok {
		return admission.NewForbidden(attrs, fmt.Errorf("no PriorityClass with name %v was found", class))
	}
	if given := pod.Spec.Priority; given != nil && *given != computed {
		return admission.NewForbidden(attrs, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *given, computed))
	}
	if given := pod.Spec.PreemptionPolicy; given != nil && *given != corev1.PreemptLowerPriority {
		return admission.NewForbidden(attrs, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *given, corev1.PreemptLowerPriority))
	}
	pod.Spec.Priority, pod.Spec.PreemptionPolicy = &computed, new(corev1.PreemptLowerPriority)
	return nil
}
