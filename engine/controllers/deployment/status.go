package deployment

import (
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The reasons of the conditions.
const (
	newReplicaSetReason   = "NewReplicaSetCreated"
	foundNewReason        = "FoundNewReplicaSet"
	updatedReason         = "ReplicaSetUpdated"
	newAvailableReason    = "NewReplicaSetAvailable"
	timedOutReason        = "ProgressDeadlineExceeded"
	pausedReason          = "DeploymentPaused"
	resumedReason         = "DeploymentResumed"
	minimumAvailable      = "MinimumReplicasAvailable"
	minimumUnavailable    = "MinimumReplicasUnavailable"
	minimumAvailableMsg   = "Deployment has minimum availability."
	minimumUnavailableMsg = "Deployment does not have minimum availability."
)

func condition(conditions []appsv1.DeploymentCondition, typ appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range conditions {
		if conditions[i].Type == typ {
			return &conditions[i]
		}
	}
	return nil
}

// set replaces a condition, unless only its message would change. A status
// that stays keeps the time of its transition.
func (w *work) set(typ appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) {
	now := metav1.NewTime(w.Now)
	next := appsv1.DeploymentCondition{Type: typ, Status: status, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now}
	if current := condition(w.conditions, typ); current != nil {
		if current.Status == status && current.Reason == reason {
			return
		}
		if current.Status == status {
			next.LastTransitionTime = current.LastTransitionTime
		}
	}
	w.remove(typ)
	w.conditions = append(w.conditions, next)
}

func (w *work) remove(typ appsv1.DeploymentConditionType) {
	w.conditions = slices.DeleteFunc(w.conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == typ })
}

func (w *work) hasDeadline() bool {
	return w.d.Spec.ProgressDeadlineSeconds != nil && *w.d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

func (w *work) setProgressing(status corev1.ConditionStatus, reason, message string) {
	if w.hasDeadline() {
		w.set(appsv1.DeploymentProgressing, status, reason, message)
	}
}

// pausedCondition reports a pause, during which no deadline runs.
func (w *work) pausedCondition() {
	current := condition(w.conditions, appsv1.DeploymentProgressing)
	if current != nil && current.Reason == timedOutReason {
		return
	}
	paused := current != nil && current.Reason == pausedReason
	switch {
	case w.d.Spec.Paused && !paused:
		w.setProgressing(corev1.ConditionUnknown, pausedReason, "Deployment is paused")
	case !w.d.Spec.Paused && paused:
		w.setProgressing(corev1.ConditionUnknown, resumedReason, "Deployment is resumed")
	}
}

// counts is the status but for its conditions.
func (w *work) counts() appsv1.DeploymentStatus {
	all := w.all()
	s := appsv1.DeploymentStatus{
		ObservedGeneration: w.d.Generation,
		Replicas:           total(all, func(rs *appsv1.ReplicaSet) int32 { return rs.Status.Replicas }),
		ReadyReplicas:      total(all, func(rs *appsv1.ReplicaSet) int32 { return rs.Status.ReadyReplicas }),
		AvailableReplicas:  total(all, func(rs *appsv1.ReplicaSet) int32 { return rs.Status.AvailableReplicas }),
		CollisionCount:     w.d.Status.CollisionCount,
	}
	s.UnavailableReplicas = max(0, total(all, size)-s.AvailableReplicas)
	if w.newest != nil {
		s.UpdatedReplicas = w.newest.Status.Replicas
	}
	terminating := w.Terminating
	s.TerminatingReplicas = &terminating
	return s
}

// status sets the plan's status, with all conditions but Progressing.
func (w *work) status() {
	s := w.counts()
	_, unavailable := limits(w.d)
	if s.AvailableReplicas >= replicas(w.d)-unavailable {
		w.set(appsv1.DeploymentAvailable, corev1.ConditionTrue, minimumAvailable, minimumAvailableMsg)
	} else {
		w.set(appsv1.DeploymentAvailable, corev1.ConditionFalse, minimumUnavailable, minimumUnavailableMsg)
	}
	s.Conditions = w.conditions
	w.plan.Status = s
}

func complete(d *appsv1.Deployment, s appsv1.DeploymentStatus) bool {
	n := replicas(d)
	return s.UpdatedReplicas == n && s.Replicas == n && s.AvailableReplicas == n && s.ObservedGeneration >= d.Generation
}

func progressing(before, s appsv1.DeploymentStatus) bool {
	return s.UpdatedReplicas > before.UpdatedReplicas ||
		s.Replicas-s.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		s.ReadyReplicas > before.ReadyReplicas || s.AvailableReplicas > before.AvailableReplicas
}

// progress sets the Progressing and ReplicaFailure conditions of a rollout.
func (w *work) progress() {
	s := &w.plan.Status
	if !w.hasDeadline() {
		w.remove(appsv1.DeploymentProgressing)
	}
	current := condition(w.conditions, appsv1.DeploymentProgressing)
	done := s.Replicas == s.UpdatedReplicas && current != nil && current.Reason == newAvailableReason
	if w.hasDeadline() && !done {
		subject := fmt.Sprintf("Deployment %q", w.d.Name)
		if w.newest != nil {
			subject = fmt.Sprintf("ReplicaSet %q", w.newest.Name)
		}
		switch {
		case complete(w.d, *s):
			w.set(appsv1.DeploymentProgressing, corev1.ConditionTrue, newAvailableReason, subject+" has successfully progressed.")
		case progressing(w.d.Status, *s):
			next := appsv1.DeploymentCondition{
				Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: updatedReason, Message: subject + " is progressing.",
				LastUpdateTime: metav1.NewTime(w.Now), LastTransitionTime: metav1.NewTime(w.Now),
			}
			if current != nil && current.Status == corev1.ConditionTrue {
				next.LastTransitionTime = current.LastTransitionTime
			}
			// Replaced also if only the time differs: from it the deadline runs.
			w.remove(appsv1.DeploymentProgressing)
			w.conditions = append(w.conditions, next)
		case w.timedOut(current):
			w.set(appsv1.DeploymentProgressing, corev1.ConditionFalse, timedOutReason, subject+" has timed out progressing.")
		}
	}
	if failure := w.failure(); failure != nil {
		w.set(appsv1.DeploymentReplicaFailure, failure.Status, failure.Reason, failure.Message)
		c := condition(w.conditions, appsv1.DeploymentReplicaFailure)
		c.LastUpdateTime, c.LastTransitionTime = failure.LastTransitionTime, failure.LastTransitionTime
	} else {
		w.remove(appsv1.DeploymentReplicaFailure)
	}
	s.Conditions = w.conditions
	current = condition(w.conditions, appsv1.DeploymentProgressing)
	if w.hasDeadline() && current != nil && current.Reason != timedOutReason && current.Reason != newAvailableReason {
		// A second more, as the stamps have whole seconds.
		w.plan.After = max(time.Second, w.deadline(current).Sub(w.Now)+time.Second)
	}
}

func (w *work) deadline(c *appsv1.DeploymentCondition) time.Time {
	return c.LastUpdateTime.Add(time.Duration(*w.d.Spec.ProgressDeadlineSeconds) * time.Second)
}

func (w *work) timedOut(c *appsv1.DeploymentCondition) bool {
	switch {
	case c == nil || c.Reason == newAvailableReason:
		return false
	case c.Reason == timedOutReason:
		return true
	}
	return w.deadline(c).Before(w.Now)
}

// failure is why a set could not make its pods; the newest set's goes first.
func (w *work) failure() *appsv1.ReplicaSetCondition {
	sets := w.all()
	slices.Reverse(sets)
	for _, rs := range sets {
		for i := range rs.Status.Conditions {
			if c := &rs.Status.Conditions[i]; c.Type == appsv1.ReplicaSetReplicaFailure {
				return c
			}
		}
	}
	return nil
}
