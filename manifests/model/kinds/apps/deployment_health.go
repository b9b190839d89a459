package apps

import (
	"fmt"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
)

const revisionAnnotation = "deployment.kubernetes.io/revision"

// pendingTermination begins kstatus' message about pods that are too many.
const pendingTermination = "Pending termination: "

func deploymentHealth(d *appsv1.Deployment, reader object.Reader) health.Result {
	if r, yes := health.Behind("Deployment", d.Generation, d.Status.ObservedGeneration); yes {
		return r
	}
	because := func(status health.Status, message string) health.Result {
		switch why := whyDeployment(d, reader); {
		case why == "":
		case strings.HasPrefix(message, pendingTermination):
			message = why + "; " + message // old pods stay because of the new ones
		default:
			message += "; " + why
		}
		return health.Result{Status: status, Message: message}
	}
	// Without a deadline there is no Progressing condition to wait for.
	progressed := d.Spec.ProgressDeadlineSeconds == nil || *d.Spec.ProgressDeadlineSeconds == 1<<31-1
	available := false
	for _, c := range d.Status.Conditions {
		switch {
		case c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded":
			return because(health.Failed, "Progress deadline exceeded")
		case c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionTrue && c.Reason == "NewReplicaSetAvailable":
			progressed = true
		case c.Type == appsv1.DeploymentAvailable && c.Status == corev1.ConditionTrue:
			available = true
		}
	}
	want, s := ptr.Deref(d.Spec.Replicas, 1), d.Status
	switch {
	case want > s.Replicas:
		return because(health.InProgress, fmt.Sprintf("Replicas: %d/%d", s.Replicas, want))
	case want > s.UpdatedReplicas:
		return because(health.InProgress, fmt.Sprintf("Updated: %d/%d", s.UpdatedReplicas, want))
	case s.Replicas > want:
		return because(health.InProgress, fmt.Sprintf(pendingTermination+"%d", s.Replicas-want))
	case s.UpdatedReplicas > s.AvailableReplicas:
		return because(health.InProgress, fmt.Sprintf("Available: %d/%d", s.AvailableReplicas, s.UpdatedReplicas))
	case want > s.ReadyReplicas:
		return because(health.InProgress, fmt.Sprintf("Ready: %d/%d", s.ReadyReplicas, want))
	case !progressed && !d.Spec.Paused:
		return because(health.InProgress, "ReplicaSet not Available")
	case !available:
		return because(health.InProgress, "Deployment not Available")
	}
	return health.Result{Status: health.Current, Message: fmt.Sprintf("Deployment is available. Replicas: %d", s.Replicas)}
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
	return health.WhyPods(newest, reader)
}

// newestSet is the ReplicaSet of the Deployment's newest template, or nil.
func newestSet(d *appsv1.Deployment, reader object.Reader) object.Object {
	if reader == nil {
		return nil
	}
	var newest object.Object
	for _, rs := range health.Dependents(reader, replicaSet.GroupKind(), d) {
		if newest == nil || revision(rs) > revision(newest) {
			newest = rs
		}
	}
	return newest
}

func revision(obj object.Object) int64 {
	n, err := strconv.ParseInt(obj.GetAnnotations()[revisionAnnotation], 10, 64)
	if err != nil {
		return 0 // not numbered yet: older than any that is
	}
	return n
}
