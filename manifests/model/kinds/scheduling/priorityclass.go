package scheduling

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

const (
	// systemPrefix is what the names of the cluster's own classes begin with.
	systemPrefix = "system-"
	// highestUserPriority is the highest that others may have.
	highestUserPriority = 1000000000
)

// priorityClass says which pods are placed before others;
// engine/admission/plugins gives the pods that name one its numbers.
// https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
var priorityClass = kind.Define[schedulingv1.PriorityClass, schedulingv1.PriorityClassList](kind.Definition[*schedulingv1.PriorityClass]{
	Names: kind.Names{
		GroupVersionKind: schedulingv1.SchemeGroupVersion.WithKind("PriorityClass"),
		Plural:           "priorityclasses", Singular: "priorityclass", ShortNames: []string{"pc"},
	},
	Order:   170,
	Default: func(c *schedulingv1.PriorityClass) { fill.Unset(&c.PreemptionPolicy, corev1.PreemptLowerPriority) },
	Lifecycle: kind.Lifecycle[*schedulingv1.PriorityClass]{
		// Kubernetes' have a generation, which never changes.
		Changed: func(_, _ *schedulingv1.PriorityClass) bool { return false },
		Permanent: func(name string) string {
			if IsSystem(name) {
				return "this is a system priority class and cannot be deleted"
			}
			return ""
		},
	},
	Rules: kind.Rules[*schedulingv1.PriorityClass]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validatePriorityClass,
		Update: validatePriorityClassUpdate,
	},
	Table: kind.Table[*schedulingv1.PriorityClass]{
		Columns: column.Define("Name", "#Value", "?Global-Default", "Age", "PreemptionPolicy"),
		Row: func(c *schedulingv1.PriorityClass, now time.Time) []any {
			policy := ""
			if c.PreemptionPolicy != nil {
				policy = string(*c.PreemptionPolicy)
			}
			return []any{c.Name, int64(c.Value), c.GlobalDefault, column.Age(c, now), policy}
		},
	},
})

// SystemClasses returns the classes that every cluster has.
func SystemClasses() []*schedulingv1.PriorityClass {
	class := func(name string, value int32, description string) *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, Description: description, PreemptionPolicy: new(corev1.PreemptLowerPriority),
		}
	}
	return []*schedulingv1.PriorityClass{
		class("system-node-critical", 2*highestUserPriority+1000, "Used for system critical pods that must not be moved from their current node."),
		class("system-cluster-critical", 2*highestUserPriority, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
	}
}

// IsSystem reports whether every cluster has the class of that name.
func IsSystem(name string) bool {
	return slices.ContainsFunc(SystemClasses(), func(c *schedulingv1.PriorityClass) bool { return c.Name == name })
}

func validatePriorityClass(c *schedulingv1.PriorityClass) field.ErrorList {
	var errs field.ErrorList
	if strings.HasPrefix(c.Name, systemPrefix) {
		if err := asSystem(c); err != nil {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"),
				fmt.Sprintf("priority class names with '%s' prefix are reserved for system use only. error: %v", systemPrefix, err)))
		}
	} else if c.Value > highestUserPriority {
		errs = append(errs, field.Forbidden(field.NewPath("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %d", highestUserPriority)))
	}
	if c.PreemptionPolicy != nil {
		errs = append(errs, rule.OneOf(*c.PreemptionPolicy, field.NewPath("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	return errs
}

// asSystem tells in what a class differs from the one of its name that every
// cluster has.
func asSystem(c *schedulingv1.PriorityClass) error {
	for _, s := range SystemClasses() {
		switch {
		case s.Name != c.Name:
		case s.Value != c.Value:
			return fmt.Errorf("value of %s PriorityClass must be %d", s.Name, s.Value)
		case s.GlobalDefault != c.GlobalDefault:
			return fmt.Errorf("globalDefault of %s PriorityClass must be %t", s.Name, s.GlobalDefault)
		default:
			return nil
		}
	}
	return fmt.Errorf("%s is not a known system priority class", c.Name)
}

func validatePriorityClassUpdate(c, old *schedulingv1.PriorityClass) field.ErrorList {
	var errs field.ErrorList
	if c.Value != old.Value {
		errs = append(errs, field.Forbidden(field.NewPath("value"), "may not be changed in an update."))
	}
	return append(errs, rule.Immutable(c.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
}
