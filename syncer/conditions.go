package syncer

import (
	"strings"

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
	cond := metav1.Condition{Type: typ, Status: status, Reason: reason, Message: bounded(message), ObservedGeneration: c.generation}
	if old := c.get(typ); old == nil || old.Status != status {
		cond.LastTransitionTime = c.now
	}
	apimeta.SetStatusCondition(c.list, cond)
}

// bounded is a message that a condition can hold.
func bounded(message string) string {
	const most = kustomizev1.MaxConditionMessageLength
	if len(message) <= most {
		return message
	}
	return strings.ToValidUTF8(message[:most-3], "") + "..."
}

func (c conditions) drop(types ...string) {
	for _, t := range types {
		apimeta.RemoveStatusCondition(c.list, t)
	}
}

func (c conditions) get(typ string) *metav1.Condition {
	return apimeta.FindStatusCondition(*c.list, typ)
}
