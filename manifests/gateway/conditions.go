package gateway

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conditions are those of one status, without their times.
type conditions []metav1.Condition

func (c *conditions) set(generation int64, typ, reason string, status bool, format string, args ...any) {
	value := metav1.ConditionFalse
	if status {
		value = metav1.ConditionTrue
	}
	*c = append(*c, metav1.Condition{Type: typ, Status: value, Reason: reason, Message: fmt.Sprintf(format, args...), ObservedGeneration: generation})
}

// fault is a reason of a condition that is not as it should be. The zero value is none.
type fault struct{ reason, message string }

func faultf[R ~string](reason R, format string, args ...any) fault {
	return fault{string(reason), fmt.Sprintf(format, args...)}
}

func (f fault) is() bool { return f.reason != "" }
