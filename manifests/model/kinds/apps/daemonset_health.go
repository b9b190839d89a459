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

func daemonSetHealth(ds *appsv1.DaemonSet, reader object.Reader) health.Result {
	s := ds.Status
	if r, yes := health.Behind("DaemonSet", ds.Generation, s.ObservedGeneration); yes {
		return r
	}
	message := ""
	switch want := s.DesiredNumberScheduled; {
	case want > s.CurrentNumberScheduled:
		message = fmt.Sprintf("Current: %d/%d", s.CurrentNumberScheduled, want)
	case want > s.UpdatedNumberScheduled:
		message = fmt.Sprintf("Updated: %d/%d", s.UpdatedNumberScheduled, want)
	case want > s.NumberAvailable:
		message = fmt.Sprintf("Available: %d/%d", s.NumberAvailable, want)
	case want > s.NumberReady:
		message = fmt.Sprintf("Ready: %d/%d", s.NumberReady, want)
	default:
		return health.Result{Status: health.Current, Message: fmt.Sprintf("All replicas scheduled as expected. Replicas: %d", want)}
	}
	if why := health.WhyPods(ds, reader); why != "" {
		message += "; " + why
	}
	return health.Result{Status: health.InProgress, Message: message}
}

// daemonSetRollout says what comes of a DaemonSet's pods. How many nodes it is for only
// its controller knows: it keeps those that it has.
func daemonSetRollout(ds *appsv1.DaemonSet, edit kind.Edit) kind.Rollout {
	r := kind.Rollout{Pods: edit.Pods, InPlace: true}
	if len(edit.Paths) == 0 && edit.Pods == 0 {
		r.Note = "one pod for each node that it is for"
	}
	if !edit.Template() {
		return r
	}
	if ds.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		r.Note = "the update strategy is OnDelete: each pod is replaced once it is deleted"
		return r
	}
	if edit.Pods == 0 {
		return r
	}
	r.InPlace, r.Strategy = false, string(appsv1.RollingUpdateDaemonSetStrategyType)
	bounds := ptr.Deref(ds.Spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
	// What cannot be read counts as 0; validation has refused it.
	r.Surge, _ = intstr.GetScaledValueFromIntOrPercent(new(ptr.Deref(bounds.MaxSurge, intstr.FromInt32(0))), edit.Pods, true)
	r.Unavailable, _ = intstr.GetScaledValueFromIntOrPercent(new(ptr.Deref(bounds.MaxUnavailable, intstr.FromInt32(1))), edit.Pods, true)
	if r.Surge == 0 && r.Unavailable == 0 {
		r.Unavailable = 1
	}
	r.Unavailable = min(r.Unavailable, edit.Pods)
	return r
}
