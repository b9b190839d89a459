package health

import (
	"fmt"

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

// Result is a status with the reason that a person would look for.
type Result struct {
	Status  Status `json:"status"`
	Message string `json:"message,omitempty"`
}

// Behind reports that the controller has not yet seen the newest spec.
func Behind(kind string, generation, observed int64) (Result, bool) {
	return Result{InProgress, fmt.Sprintf("%s generation is %d, but latest observed generation is %d", kind, generation, observed)},
		observed < generation
}

// Conditioned judges kinds that follow kstatus' conditions: Stalled,
// Reconciling and Ready. A suspended object is in the state that it was asked
// to be in.
func Conditioned(obj object.Object, suspended bool, observed int64, conditions []metav1.Condition) Result {
	if suspended {
		return Result{Current, "Reconciliation is suspended"}
	}
	kind := obj.GetObjectKind().GroupVersionKind().Kind
	if kind == "" {
		kind = "Resource"
	}
	if r, yes := Behind(kind, obj.GetGeneration(), observed); yes {
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
