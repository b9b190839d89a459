package admit

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"headway.dev/manifests/model/kinds/core"
	"headway.dev/manifests/model/object"
)

// priorities is Kubernetes' Priority admission for new pods: the class must
// exist, and the numbers are taken from it.
func priorities(_ object.Reader, next, old object.Object) (object.Object, error) {
	pod, ok := next.(*corev1.Pod)
	if !ok || old != nil {
		return next, nil
	}
	forbid := func(format string, args ...any) (object.Object, error) {
		return nil, apierrors.NewForbidden(pods, cmp.Or(pod.GenerateName, pod.Name), fmt.Errorf(format, args...))
	}
	class := pod.Spec.PriorityClassName
	computed, ok := core.PriorityOf(class)
	if !ok {
		return forbid("no PriorityClass with name %v was found", class)
	}
	if given := pod.Spec.Priority; given != nil && *given != computed {
		return forbid("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *given, computed)
	}
	if given := pod.Spec.PreemptionPolicy; given != nil && *given != corev1.PreemptLowerPriority {
		return forbid("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *given, corev1.PreemptLowerPriority)
	}
	return next, nil
}
