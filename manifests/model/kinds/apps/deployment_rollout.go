package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/kind"
)

func deploymentRollout(d *appsv1.Deployment, edit kind.Edit) kind.Rollout {
	r := kind.Rollout{Pods: int(ptr.Deref(d.Spec.Replicas, 1))}
	switch {
	case edit.Pods == 0 || !edit.Template():
	case d.Spec.Paused:
		r.Note = "the Deployment is paused: its pods are replaced once spec.paused is unset"
	case d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		r.Strategy, r.AtOnce = string(appsv1.RecreateDeploymentStrategyType), true
	default:
		r.Strategy = string(appsv1.RollingUpdateDeploymentStrategyType)
		r.Surge, r.Unavailable = surge(d, r.Pods)
	}
	return r
}

// surge resolves a rolling update's bounds as the Deployment controller does:
// never both 0.
func surge(d *appsv1.Deployment, replicas int) (surge, unavailable int) {
	bounds, quarter := ptr.Deref(d.Spec.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{}), intstr.FromString("25%")
	// What cannot be read counts as 0; validation has refused it.
	surge, _ = intstr.GetScaledValueFromIntOrPercent(new(ptr.Deref(bounds.MaxSurge, quarter)), replicas, true)
	unavailable, _ = intstr.GetScaledValueFromIntOrPercent(new(ptr.Deref(bounds.MaxUnavailable, quarter)), replicas, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, min(unavailable, replicas)
}
