package health

import (
	"fmt"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/object"
)

const revisionAnnotation = "deployment.kubernetes.io/revision"

// pendingTermination begins kstatus' message about pods that are too many.
const pendingTermination = "Pending termination: "

var (
	replicaSetKind = schema.GroupKind{Group: appsv1.GroupName, Kind: "ReplicaSet"}
	podKind        = schema.GroupKind{Kind: "Pod"}
)

func deployment(d *appsv1.Deployment, reader object.Reader) Result {
	if r, yes := behind("Deployment", d.Generation, d.Status.ObservedGeneration); yes {
		return r
	}
	because := func(status Status, message string) Result {
		switch why := whyDeployment(d, reader); {
		case why == "":
		case strings.HasPrefix(message, pendingTermination):
			message = why + "; " + message // old pods stay because of the new ones
		default:
			message += "; " + why
		}
		return Result{status, message}
	}
	// Without a deadline there is no Progressing condition to wait for.
	progressed := d.Spec.ProgressDeadlineSeconds == nil || *d.Spec.ProgressDeadlineSeconds == 1<<31-1
	available := false
	for _, c := range d.Status.Conditions {
		switch {
		case c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded":
			return because(Failed, "Progress deadline exceeded")
		case c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionTrue && c.Reason == "NewReplicaSetAvailable":
			progressed = true
		case c.Type == appsv1.DeploymentAvailable && c.Status == corev1.ConditionTrue:
			available = true
		}
	}
	want, s := ptr.Deref(d.Spec.Replicas, 1), d.Status
	switch {
	case want > s.Replicas:
		return because(InProgress, fmt.Sprintf("Replicas: %d/%d", s.Replicas, want))
	case want > s.UpdatedReplicas:
		return because(InProgress, fmt.Sprintf("Updated: %d/%d", s.UpdatedReplicas, want))
	case s.Replicas > want:
		return because(InProgress, fmt.Sprintf(pendingTermination+"%d", s.Replicas-want))
	case s.UpdatedReplicas > s.AvailableReplicas:
		return because(InProgress, fmt.Sprintf("Available: %d/%d", s.AvailableReplicas, s.UpdatedReplicas))
	case want > s.ReadyReplicas:
		return because(InProgress, fmt.Sprintf("Ready: %d/%d", s.ReadyReplicas, want))
	case !progressed && !d.Spec.Paused:
		return because(InProgress, "ReplicaSet not Available")
	case !available:
		return because(InProgress, "Deployment not Available")
	}
	return Result{Current, fmt.Sprintf("Deployment is available. Replicas: %d", s.Replicas)}
}

// whyDeployment looks at the pods of the newest ReplicaSet: those of older
// ones are on their way out, and what is wrong with them does not matter.
func whyDeployment(d *appsv1.Deployment, reader object.Reader) string {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return c.Reason + ": " + c.Message
		}
	}
	if reader == nil {
		return ""
	}
	newest := newestSet(d, reader)
	if newest == nil {
		return ""
	}
	return whyPods(newest, reader)
}

// newestSet is the ReplicaSet of the Deployment's newest template, or nil.
func newestSet(d *appsv1.Deployment, reader object.Reader) object.Object {
	if reader == nil {
		return nil
	}
	var newest object.Object
	sets, _ := reader.List(replicaSetKind, d.Namespace)
	for _, rs := range sets {
		if owned(rs, d.UID) && (newest == nil || revision(rs) > revision(newest)) {
			newest = rs
		}
	}
	return newest
}

func replicaSet(rs *appsv1.ReplicaSet, reader object.Reader) Result {
	if r, yes := behind("ReplicaSet", rs.Generation, rs.Status.ObservedGeneration); yes {
		return r
	}
	for _, c := range rs.Status.Conditions {
		if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
			return Result{InProgress, "Replica Failure condition. " + c.Reason + ": " + c.Message}
		}
	}
	want, s := ptr.Deref(rs.Spec.Replicas, 1), rs.Status
	message := ""
	switch {
	case want > s.FullyLabeledReplicas:
		message = fmt.Sprintf("Labelled: %d/%d", s.FullyLabeledReplicas, want)
	case want > s.AvailableReplicas:
		message = fmt.Sprintf("Available: %d/%d", s.AvailableReplicas, want)
	case want > s.ReadyReplicas:
		message = fmt.Sprintf("Ready: %d/%d", s.ReadyReplicas, want)
	case s.Replicas > want:
		message = fmt.Sprintf("Pending termination: %d", s.Replicas-want)
	default:
		return Result{Current, fmt.Sprintf("ReplicaSet is available. Replicas: %d", s.Replicas)}
	}
	if why := whyPods(rs, reader); why != "" {
		message += "; " + why
	}
	return Result{InProgress, message}
}

// whyPods is what is wrong with the pods of owner: the first pod's trouble of
// the gravest sort, and how many others have the same.
func whyPods(owner object.Object, reader object.Reader) string {
	if reader == nil {
		return ""
	}
	var gravest trouble
	var name string
	others := 0
	pods, _ := reader.List(podKind, owner.GetNamespace())
	for _, o := range pods {
		p, ok := o.(*corev1.Pod)
		if !ok || !owned(p, owner.GetUID()) || p.DeletionTimestamp != nil {
			continue
		}
		t := troubleOf(p, reader)
		switch {
		case t.gravity == 0:
		case t.gravity > gravest.gravity:
			gravest, name, others = t, p.Name, 0
		case t.reason == gravest.reason:
			others++
		}
	}
	if gravest.gravity == 0 {
		return ""
	}
	message := "pod " + name + ": " + gravest.String()
	switch {
	case others == 1:
		message += " (and 1 more pod)"
	case others > 1:
		message += fmt.Sprintf(" (and %d more pods)", others)
	}
	return message
}

func owned(obj object.Object, by types.UID) bool {
	for _, ref := range obj.GetOwnerReferences() {
		if ref.UID == by && ptr.Deref(ref.Controller, false) {
			return true
		}
	}
	return false
}

func revision(obj object.Object) int64 {
	n, err := strconv.ParseInt(obj.GetAnnotations()[revisionAnnotation], 10, 64)
	if err != nil {
		return 0 // not numbered yet: older than any that is
	}
	return n
}
