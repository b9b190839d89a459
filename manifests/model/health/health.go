package health

import (
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
)

// Status is an object's health.
type Status string

// The states, in kstatus' words.
const (
	Current     Status = "Current"
	InProgress  Status = "InProgress"
	Failed      Status = "Failed"
	Terminating Status = "Terminating"
	NotFound    Status = "NotFound"
)

// Result is a status with the reason a person would look for.
type Result struct {
	Status  Status `json:"status"`
	Message string `json:"message,omitempty"`
}

// Of judges obj; nil is NotFound. For workloads, reader is asked for the pods,
// to say why (image cannot be pulled, no node fits, probe fails, crash loop);
// it may be nil, and then the message has only the counts. Kinds without a
// status of their own are Current.
func Of(obj object.Object, reader object.Reader) Result {
	if obj == nil {
		return Result{NotFound, "Resource not found"}
	}
	if obj.GetDeletionTimestamp() != nil {
		return Result{Terminating, "Resource scheduled for deletion"}
	}
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return deployment(o, reader)
	case *appsv1.ReplicaSet:
		return replicaSet(o, reader)
	case *corev1.Pod:
		return pod(o, reader)
	case *corev1.Service:
		if o.Spec.Type == corev1.ServiceTypeLoadBalancer && o.Spec.ClusterIP == "" {
			return Result{InProgress, "ClusterIP not set. Service type: LoadBalancer"}
		}
		return Result{Current, "Service is ready"}
	case *corev1.Namespace:
		if o.Status.Phase == corev1.NamespaceTerminating {
			return Result{Terminating, "Resource scheduled for deletion"}
		}
	case *kustomizev1.Kustomization:
		return conditioned(o, o.Spec.Suspend, o.Status.ObservedGeneration, o.Status.Conditions)
	case *sourcev1.GitRepository:
		return conditioned(o, o.Spec.Suspend, o.Status.ObservedGeneration, o.Status.Conditions)
	}
	return Result{Current, "Resource is current"}
}

// behind reports that the controller has not yet seen the newest spec.
func behind(kind string, generation, observed int64) (Result, bool) {
	return Result{InProgress, fmt.Sprintf("%s generation is %d, but latest observed generation is %d", kind, generation, observed)},
		observed < generation
}

// conditioned judges the kinds that follow kstatus' conditions: Stalled,
// Reconciling and Ready. A suspended one is what it was told to be.
func conditioned(obj object.Object, suspended bool, observed int64, conditions []metav1.Condition) Result {
	if suspended {
		return Result{Current, "Reconciliation is suspended"}
	}
	kind := obj.GetObjectKind().GroupVersionKind().Kind
	if kind == "" {
		kind = "Resource"
	}
	if r, yes := behind(kind, obj.GetGeneration(), observed); yes {
		return r
	}
	if c := meta.FindStatusCondition(conditions, "Stalled"); c != nil && c.Status == metav1.ConditionTrue {
		return Result{Failed, c.Message}
	}
	ready := meta.FindStatusCondition(conditions, "Ready")
	if c := meta.FindStatusCondition(conditions, "Reconciling"); c != nil && c.Status == metav1.ConditionTrue {
		if ready != nil && ready.Status == metav1.ConditionFalse && ready.Message != "" {
			return Result{InProgress, ready.Message} // why it has to try again
		}
		return Result{InProgress, c.Message}
	}
	switch {
	case ready == nil:
		return Result{InProgress, kind + " has not been reconciled yet"}
	case ready.Status == metav1.ConditionTrue:
		return Result{Current, ready.Message}
	}
	return Result{InProgress, ready.Message}
}
