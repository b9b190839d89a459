package daemonset

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
)

// StatusOf counts nodes and pods. created are the nodes that get a pod in the same
// transaction.
func StatusOf(in Input, created []string) appsv1.DaemonSetStatus {
	coming := map[string]bool{}
	for _, node := range created {
		coming[node] = true
	}
	return newDecision(in).status(coming)
}

func (d *decision) status(coming map[string]bool) appsv1.DaemonSetStatus {
	s := appsv1.DaemonSetStatus{ObservedGeneration: d.Set.Generation, CollisionCount: d.Set.Status.CollisionCount, Conditions: d.Set.Status.Conditions}
	for node, verdict := range d.Nodes {
		pods := d.on[node]
		switch {
		case !verdict.Run:
			if len(pods) > 0 {
				s.NumberMisscheduled++
			}
			continue
		case len(pods) == 0 && coming[node]:
			s.CurrentNumberScheduled++
			s.UpdatedNumberScheduled++
		case len(pods) > 0:
			s.CurrentNumberScheduled++
			d.count(&s, pods[0])
		}
		s.DesiredNumberScheduled++
	}
	s.NumberUnavailable = s.DesiredNumberScheduled - s.NumberAvailable
	return s
}

// count counts the oldest pod of a node, which stands for the node.
func (d *decision) count(s *appsv1.DaemonSetStatus, pod *corev1.Pod) {
	if control.Ready(pod) {
		s.NumberReady++
		if d.available(pod) {
			s.NumberAvailable++
		}
	}
	if d.updated(pod) {
		s.UpdatedNumberScheduled++
	}
}

// counted is the status with a count of collisions.
func counted(ds *appsv1.DaemonSet, n int32) appsv1.DaemonSetStatus {
	s := *ds.Status.DeepCopy()
	s.CollisionCount = new(n)
	return s
}

// selectsAll reports whether a selector is the empty one, which would take everybody's
// pods.
func selectsAll(s *metav1.LabelSelector) bool {
	return s != nil && len(s.MatchLabels)+len(s.MatchExpressions) == 0
}
