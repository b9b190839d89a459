package admit

import (
	"fmt"

	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

var (
	priorityClassKind = schema.GroupKind{Group: schedulingv1.GroupName, Kind: "PriorityClass"}
	priorityClasses   = schema.GroupResource{Group: schedulingv1.GroupName, Resource: "priorityclasses"}
)

// PriorityClasses refuses a second class that is the default, and to delete one of
// those that every cluster has.
func PriorityClasses(view object.Reader, next, old object.Object) (object.Object, error) {
	if was, ok := old.(*schedulingv1.PriorityClass); ok {
		if err := permanent(priorityClassKind, next, was); err != nil {
			return nil, err
		}
	}
	class, ok := next.(*schedulingv1.PriorityClass)
	if !ok || !class.GlobalDefault {
		return next, nil
	}
	if other := DefaultPriorityClass(view); other != nil && other.Name != class.Name {
		return nil, apierrors.NewForbidden(priorityClasses, class.Name, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", other.Name))
	}
	return next, nil
}

// DefaultPriorityClass is the class of pods that name none, nil if there is none.
func DefaultPriorityClass(view object.Reader) *schedulingv1.PriorityClass {
	var found *schedulingv1.PriorityClass
	list, _ := view.List(priorityClassKind, "")
	for _, obj := range list {
		if class, ok := obj.(*schedulingv1.PriorityClass); ok && class.GlobalDefault && (found == nil || class.Value < found.Value) {
			found = class
		}
	}
	return found
}
