package control

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The kinds that several controllers use.
var (
	Pod                     = schema.GroupKind{Kind: "Pod"}
	Node                    = schema.GroupKind{Kind: "Node"}
	Namespace               = schema.GroupKind{Kind: "Namespace"}
	Service                 = schema.GroupKind{Kind: "Service"}
	Endpoints               = schema.GroupKind{Kind: "Endpoints"}
	Event                   = schema.GroupKind{Kind: "Event"}
	ConfigMap               = schema.GroupKind{Kind: "ConfigMap"}
	Secret                  = schema.GroupKind{Kind: "Secret"}
	ServiceAccount          = schema.GroupKind{Kind: "ServiceAccount"}
	Lease                   = schema.GroupKind{Group: coordinationv1.GroupName, Kind: "Lease"}
	EndpointSlice           = schema.GroupKind{Group: discoveryv1.GroupName, Kind: "EndpointSlice"}
	PodDisruptionBudget     = schema.GroupKind{Group: policyv1.GroupName, Kind: "PodDisruptionBudget"}
	ReplicationController   = schema.GroupKind{Kind: "ReplicationController"}
	HorizontalPodAutoscaler = schema.GroupKind{Group: autoscalingv2.GroupName, Kind: "HorizontalPodAutoscaler"}
	PriorityClass           = schema.GroupKind{Group: schedulingv1.GroupName, Kind: "PriorityClass"}
	ResourceQuota           = schema.GroupKind{Kind: "ResourceQuota"}
	Deployment              = schema.GroupKind{Group: appsv1.GroupName, Kind: "Deployment"}
	DaemonSet               = schema.GroupKind{Group: appsv1.GroupName, Kind: "DaemonSet"}
	StatefulSet             = schema.GroupKind{Group: appsv1.GroupName, Kind: "StatefulSet"}
	ControllerRevision      = schema.GroupKind{Group: appsv1.GroupName, Kind: "ControllerRevision"}
	ReplicaSet              = schema.GroupKind{Group: appsv1.GroupName, Kind: "ReplicaSet"}
	Job                     = schema.GroupKind{Group: batchv1.GroupName, Kind: "Job"}
	PersistentVolume        = schema.GroupKind{Kind: "PersistentVolume"}
	PersistentVolumeClaim   = schema.GroupKind{Kind: "PersistentVolumeClaim"}
	StorageClass            = schema.GroupKind{Group: storagev1.GroupName, Kind: "StorageClass"}
	CronJob                 = schema.GroupKind{Group: batchv1.GroupName, Kind: "CronJob"}
)

// PodCondition returns a condition, nil if the pod has none of that type.
func PodCondition(pod *corev1.Pod, typ corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == typ {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// Ready reports whether the pod is ready.
func Ready(pod *corev1.Pod) bool {
	c := PodCondition(pod, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// Terminal reports whether all containers have ended for good.
func Terminal(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Active reports whether the pod runs or will run, and is not being deleted.
func Active(pod *corev1.Pod) bool { return !Terminal(pod) && pod.DeletionTimestamp == nil }

// AvailableIn returns how long a pod must stay ready until it counts as
// available: 0 if it does, and negative if it is not ready at all.
func AvailableIn(pod *corev1.Pod, minReadySeconds int32, now time.Time) time.Duration {
	if !Ready(pod) {
		return -1
	}
	since := PodCondition(pod, corev1.PodReady).LastTransitionTime
	if minReadySeconds == 0 {
		return 0
	}
	if since.IsZero() {
		return time.Duration(minReadySeconds) * time.Second
	}
	return max(0, since.Add(time.Duration(minReadySeconds)*time.Second).Sub(now))
}
