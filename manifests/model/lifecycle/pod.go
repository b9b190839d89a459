package lifecycle

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/util/qos"

	"headway.dev/manifests/model/object"
)

var typePod = reflect.TypeFor[*corev1.Pod]()

var podStrategy = strategy{
	create: create1(func(pod *corev1.Pod) {
		pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qos.ComputePodQOS(pod)}
		if len(pod.Spec.SchedulingGates) > 0 {
			pod.Status.Conditions = []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
				Reason:  corev1.PodReasonSchedulingGated,
				Message: "Scheduling is blocked due to non-empty scheduling gates",
			}}
		}
	}),
	update: update2(func(pod, old *corev1.Pod) { pod.Status = old.Status }),
	updateStatus: update2(func(pod, old *corev1.Pod) {
		pod.Spec = old.Spec
		pod.OwnerReferences = old.OwnerReferences
		if pod.Status.QOSClass == "" {
			pod.Status.QOSClass = old.Status.QOSClass
		}
	}),
	changed: changed2(func(pod, old *corev1.Pod) bool {
		if old.Spec.NodeName == "" && pod.Spec.NodeName != "" {
			// A binding is not a change of what the user asked for.
			bound := old.Spec
			bound.NodeName = pod.Spec.NodeName
			return differ(pod.Spec, bound)
		}
		return differ(pod.Spec, old.Spec)
	}),
	grace: func(obj object.Object, opts metav1.DeleteOptions) int64 {
		return GracePeriod(obj.(*corev1.Pod), opts)
	},
}

// GracePeriod is how many seconds a delete leaves pod: what the request asks
// for, else what the pod does; 0 for one that runs nowhere or has ended, as no
// agent would take it away.
func GracePeriod(pod *corev1.Pod, opts metav1.DeleteOptions) int64 {
	phase := pod.Status.Phase
	if pod.Spec.NodeName == "" || phase == corev1.PodSucceeded || phase == corev1.PodFailed {
		return 0
	}
	seconds := opts.GracePeriodSeconds
	if seconds == nil {
		seconds = pod.Spec.TerminationGracePeriodSeconds
	}
	switch {
	case seconds == nil:
		return 0
	case *seconds < 0:
		return 1
	}
	return *seconds
}
