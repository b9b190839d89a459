package flux

import (
	"strings"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
)

// Conditions edits a status's conditions: the time of the last transition is
// that of the change of the condition's status.
type Conditions struct {
	List       *[]metav1.Condition
	Generation int64
	Now        metav1.Time
}

// Put sets a condition.
func (c Conditions) Put(typ string, status metav1.ConditionStatus, reason, message string) {
	cond := metav1.Condition{Type: typ, Status: status, Reason: reason, Message: Bounded(message), ObservedGeneration: c.Generation}
	if old := c.Get(typ); old == nil || old.Status != status {
		cond.LastTransitionTime = c.Now
	}
	apimeta.SetStatusCondition(c.List, cond)
}

// Bounded returns a message that fits into a condition.
func Bounded(message string) string {
	const most = kustomizev1.MaxConditionMessageLength
	if len(message) <= most {
		return message
	}
	return strings.ToValidUTF8(message[:most-3], "") + "..."
}

// Drop removes conditions.
func (c Conditions) Drop(types ...string) {
	for _, t := range types {
		apimeta.RemoveStatusCondition(c.List, t)
	}
}

// Get returns a condition, and nil if none has this type.
func (c Conditions) Get(typ string) *metav1.Condition {
	return apimeta.FindStatusCondition(*c.List, typ)
}
