package replicaset

import (
	"regexp"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"headway.dev/engine/controllers/control"
)

// burst bounds how many pods one transaction creates or deletes.
const burst = 500

// Plan is what has to be done to bring a replica set to its size.
type Plan struct {
	// Create is how many pods are missing.
	Create int
	// Delete are the surplus pods.
	Delete []*corev1.Pod
	// After is when a pod becomes available without an event (0: never).
	After time.Duration
}

// Decide compares a replica set with the pods that it owns. neighbours counts
// the pods on each node that compete with its own: those of all replica sets
// of the same owner.
func Decide(rs *appsv1.ReplicaSet, pods []*corev1.Pod, neighbours map[string]int, now time.Time) Plan {
	var p Plan
	active := filter(pods, control.Active)
	for _, pod := range active {
		if in := control.AvailableIn(pod, rs.Spec.MinReadySeconds, now); in > 0 && (p.After == 0 || in < p.After) {
			p.After = in
		}
	}
	if rs.DeletionTimestamp != nil {
		return p
	}
	switch diff := len(active) - desired(rs); {
	case diff < 0:
		p.Create = min(-diff, burst)
	case diff > 0:
		diff = min(diff, burst)
		p.Delete = rank(active, rs.Spec.MinReadySeconds, neighbours, now)[:diff]
	}
	return p
}

// StatusOf counts the pods. failure, if not nil, is why the last attempt to
// change their number failed.
func StatusOf(rs *appsv1.ReplicaSet, pods []*corev1.Pod, failure *appsv1.ReplicaSetCondition, now time.Time) appsv1.ReplicaSetStatus {
	status := appsv1.ReplicaSetStatus{ObservedGeneration: rs.Generation}
	template := labels.Set(rs.Spec.Template.Labels).AsSelectorPreValidated()
	terminating := int32(0)
	for _, pod := range pods {
		if !control.Active(pod) {
			if pod.DeletionTimestamp != nil && !control.Terminal(pod) {
				terminating++
			}
			continue
		}
		status.Replicas++
		if template.Matches(labels.Set(pod.Labels)) {
			status.FullyLabeledReplicas++
		}
		switch in := control.AvailableIn(pod, rs.Spec.MinReadySeconds, now); {
		case in == 0:
			status.AvailableReplicas++
			status.ReadyReplicas++
		case in > 0:
			status.ReadyReplicas++
		}
	}
	status.TerminatingReplicas = &terminating
	for _, c := range rs.Status.Conditions {
		if c.Type != appsv1.ReplicaSetReplicaFailure {
			status.Conditions = append(status.Conditions, c)
		} else if failure != nil && c.Status == failure.Status && c.Reason == failure.Reason {
			failure.LastTransitionTime = c.LastTransitionTime
			if unnamed(rs, c.Message) == unnamed(rs, failure.Message) {
				failure.Message = c.Message
			}
		}
	}
	if failure != nil {
		status.Conditions = append(status.Conditions, *failure)
	}
	return status
}

// unnamed is a message without the generated name of the pod that it is about.
// Each attempt has another name: a status that told it would change with each, and
// each change of the status is a reason to try again at once.
func unnamed(rs *appsv1.ReplicaSet, message string) string {
	return regexp.MustCompile(regexp.QuoteMeta(rs.Name+"-")+"[a-z0-9]{5}").ReplaceAllString(message, rs.Name+"-")
}

// newPod makes a pod from the replica set's template.
func newPod(rs *appsv1.ReplicaSet, owner metav1.OwnerReference, name string) *corev1.Pod {
	template := rs.Spec.Template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: rs.Namespace, Name: name, GenerateName: rs.Name + "-",
			Labels: template.Labels, Annotations: template.Annotations, Finalizers: template.Finalizers,
			OwnerReferences: []metav1.OwnerReference{owner},
		},
		Spec: template.Spec,
	}
}

func desired(rs *appsv1.ReplicaSet) int {
	if rs.Spec.Replicas == nil {
		return 1
	}
	return int(*rs.Spec.Replicas)
}

func filter(pods []*corev1.Pod, keep func(*corev1.Pod) bool) []*corev1.Pod {
	var kept []*corev1.Pod
	for _, p := range pods {
		if keep(p) {
			kept = append(kept, p)
		}
	}
	return kept
}
