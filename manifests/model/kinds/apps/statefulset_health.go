package apps

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

func statefulSetHealth(set *appsv1.StatefulSet, reader object.Reader) health.Result {
	s := set.Status
	if r, yes := health.Behind("StatefulSet", set.Generation, s.ObservedGeneration); yes {
		return r
	}
	current := func(message string, args ...any) health.Result {
		return health.Result{Status: health.Current, Message: fmt.Sprintf(message, args...)}
	}
	if set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return current("StatefulSet is using the ondelete update strategy")
	}
	// Kubernetes sets the partition, 0 if no other is asked for; what it sets is judged
	// as if nobody had.
	partition := int32(0)
	if r := set.Spec.UpdateStrategy.RollingUpdate; r != nil {
		partition = ptr.Deref(r.Partition, 0)
	}
	want := ptr.Deref(set.Spec.Replicas, 1)
	message := ""
	switch {
	case want > s.Replicas:
		message = fmt.Sprintf("Replicas: %d/%d", s.Replicas, want)
	case want > s.ReadyReplicas:
		message = fmt.Sprintf("Ready: %d/%d", s.ReadyReplicas, want)
	case s.Replicas > want:
		message = fmt.Sprintf("Pending termination: %d", s.Replicas-want)
	case s.UpdatedReplicas < want-partition:
		message = fmt.Sprintf("updated: %d/%d", s.UpdatedReplicas, want-partition)
	case s.AvailableReplicas < want:
		message = fmt.Sprintf("Available: %d/%d", s.AvailableReplicas, want)
	default:
		return current("Partition rollout complete. updated: %d", s.UpdatedReplicas)
	}
	if why := health.WhyPods(set, reader); why != "" {
		message += "; " + why
	}
	return health.Result{Status: health.InProgress, Message: message}
}

func statefulSetRollout(set *appsv1.StatefulSet, edit kind.Edit) kind.Rollout {
	r := kind.Rollout{Pods: int(ptr.Deref(set.Spec.Replicas, 1))}
	if len(set.Spec.VolumeClaimTemplates) > 0 {
		start := 0
		if set.Spec.Ordinals != nil {
			start = int(set.Spec.Ordinals.Start)
		}
		r.Claims = func(n int) []kind.PodClaim { return Claims(set, start+n) }
	}
	if edit.Pods == 0 || !edit.Template() {
		return r
	}
	if set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		r.Note = "the update strategy is OnDelete: each pod is replaced once it is deleted"
		return r
	}
	bounds := ptr.Deref(set.Spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	if partition := int(ptr.Deref(bounds.Partition, 0)); partition > 0 {
		r.Note = fmt.Sprintf("the partition leaves %d pods as they are", min(partition, r.Pods))
		if partition >= r.Pods {
			return r
		}
	}
	r.Strategy = string(appsv1.RollingUpdateStatefulSetStrategyType)
	// What cannot be read counts as 0; validation has refused it.
	r.Unavailable, _ = intstr.GetScaledValueFromIntOrPercent(new(ptr.Deref(bounds.MaxUnavailable, intstr.FromInt32(1))), r.Pods, false)
	r.Unavailable = min(max(r.Unavailable, 1), r.Pods)
	return r
}
