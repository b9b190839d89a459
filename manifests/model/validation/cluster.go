package validation

import (
	"fmt"
	"maps"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func namespace(ns *corev1.Namespace) field.ErrorList {
	var errs field.ErrorList
	for i, f := range ns.Spec.Finalizers {
		errs = append(errs, apivalidation.ValidateFinalizerName(string(f), spec.Child("finalizers").Index(i))...)
	}
	return errs
}

func namespaceStatus(ns, _ *corev1.Namespace) field.ErrorList {
	// The capital is the API's.
	path := field.NewPath("status", "Phase")
	switch phase := ns.Status.Phase; {
	case ns.DeletionTimestamp == nil && phase != corev1.NamespaceActive:
		return field.ErrorList{field.Invalid(path, phase, "may only be 'Active' if `deletionTimestamp` is empty")}
	case ns.DeletionTimestamp != nil && phase != corev1.NamespaceTerminating:
		return field.ErrorList{field.Invalid(path, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")}
	}
	return nil
}

func node(n *corev1.Node) field.ErrorList {
	errs := taints(n.Spec.Taints, spec.Child("taints"))
	for i, cidr := range n.Spec.PodCIDRs {
		errs = append(errs, validation.IsValidCIDRForLegacyField(spec.Child("podCIDRs").Index(i), cidr, true, nil)...)
	}
	return append(errs, nodeStatus(n, n)...)
}

func nodeStatus(n, _ *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	for name, list := range map[string]corev1.ResourceList{"capacity": n.Status.Capacity, "allocatable": n.Status.Allocatable} {
		for _, resource := range slices.Sorted(maps.Keys(list)) {
			errs = append(errs, quantity(resource, list[resource], status.Child(name, string(resource)))...)
		}
	}
	seen := map[corev1.NodeAddress]bool{}
	for i, a := range n.Status.Addresses {
		errs = append(errs, unique(seen, a, status.Child("addresses").Index(i))...)
	}
	return errs
}

func nodeUpdate(n, old *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(n.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(spec.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
	}
	if old.Spec.ProviderID != "" && n.Spec.ProviderID != old.Spec.ProviderID {
		errs = append(errs, field.Forbidden(spec.Child("providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	return errs
}

func lease(l *coordinationv1.Lease) field.ErrorList {
	var errs field.ErrorList
	if d := l.Spec.LeaseDurationSeconds; d != nil && *d <= 0 {
		errs = append(errs, field.Invalid(spec.Child("leaseDurationSeconds"), *d, "must be greater than 0"))
	}
	if n := l.Spec.LeaseTransitions; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(spec.Child("leaseTransitions"), *n, "must be greater than or equal to 0"))
	}
	return errs
}

const (
	maxEventName    = 128
	maxEventMessage = 1024
)

// event holds for events of core/v1, which are checked less than those of
// events.k8s.io/v1: not even their metadata is.
func event(e *corev1.Event) field.ErrorList {
	errs := eventNamespace(e)
	if !e.EventTime.IsZero() {
		controller := field.NewPath("reportingController")
		if e.ReportingController == "" {
			errs = append(errs, field.Required(controller, ""))
		}
		errs = append(errs, invalid(controller, e.ReportingController, validation.IsQualifiedName(e.ReportingController))...)
		for _, f := range []struct {
			name, value string
		}{{"reportingInstance", e.ReportingInstance}, {"action", e.Action}, {"reason", e.Reason}} {
			if f.value == "" {
				errs = append(errs, field.Required(field.NewPath(f.name), ""))
			}
			errs = append(errs, atMost(f.value, maxEventName, f.name)...)
		}
		errs = append(errs, atMost(e.Message, maxEventMessage, "message")...)
	}
	return append(errs, dnsSubdomain(e.Namespace, field.NewPath("namespace"))...)
}

// eventNamespace demands that an event lies with its object; those about
// objects without a namespace lie in default.
func eventNamespace(e *corev1.Event) field.ErrorList {
	about, ok := e.InvolvedObject.Namespace, false
	switch {
	case about != "":
		ok = about == e.Namespace || !e.EventTime.IsZero()
	case e.EventTime.IsZero():
		ok = e.Namespace == "" || e.Namespace == corev1.NamespaceDefault
	default:
		ok = e.Namespace == corev1.NamespaceDefault || e.Namespace == "kube-system"
	}
	if ok {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("involvedObject", "namespace"), about, "does not match event.namespace")}
}

func atMost(value string, limit int, name string) field.ErrorList {
	if len(value) <= limit {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath(name), "", fmt.Sprintf("can have at most %v characters", limit))}
}
