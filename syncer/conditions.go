package syncer

import (
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
)

// conditions edits a status's conditions: the time of the last transition is
// that of the change of the condition's status.
type conditions struct {
	list       *[]metav1.Condition
	generation int64
	now        metav1.Time
}

func (c conditions) put(typ string, status metav1.ConditionStatus, reason, message string) {
	if len(message) > kustomizev1.MaxConditionMessageLength {
		message = message[:kustomizev1.MaxConditionMessageLength-3] + "..."
	}
	cond := metav1.Condition{Type: typ, Status: status, Reason: reason, Message: message, ObservedGeneration: c.generation}
	if old := c.get(typ); old == nil || old.Status != status {
		cond.LastTransitionTime = c.now
	}
	apimeta.SetStatusCondition(c.list, cond)
}

func (c conditions) drop(types ...string) {
	for _, t := range types {
		apimeta.RemoveStatusCondition(c.list, t)
	}
}

func (c conditions) get(typ string) *metav1.Condition {
	return apimeta.FindStatusCondition(*c.list, typ)
}
