package defaults

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func deployment(d *appsv1.Deployment) {
	unset(&d.Spec.Replicas, 1)
	unset(&d.Spec.RevisionHistoryLimit, 10)
	unset(&d.Spec.ProgressDeadlineSeconds, 600)
	strategy := &d.Spec.Strategy
	zero(&strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		unset(&strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		unset(&strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		unset(&strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	podSpec(&d.Spec.Template.Spec)
}

func replicaSet(rs *appsv1.ReplicaSet) {
	unset(&rs.Spec.Replicas, 1)
	podSpec(&rs.Spec.Template.Spec)
}
