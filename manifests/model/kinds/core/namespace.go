package core

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
)

var namespace = kind.Define[corev1.Namespace, corev1.NamespaceList](kind.Definition[*corev1.Namespace]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Namespace"),
		Plural:           "namespaces", Singular: "namespace",
		ShortNames: []string{"ns"},
	},
	Order:   10,
	Status:  true,
	Default: defaultNamespace,
	// A namespace is held by spec.finalizers, which only the finalize
	// subresource may change; a delete makes it Terminating until they are gone.
	Lifecycle: kind.Lifecycle[*corev1.Namespace]{
		Permanent: func(name string) string {
			switch name {
			case metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic:
				return "this namespace may not be deleted"
			}
			return ""
		},
		Create: func(ns *corev1.Namespace) {
			if !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
				ns.Spec.Finalizers = append(ns.Spec.Finalizers, corev1.FinalizerKubernetes)
			}
			ns.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
			metav1.SetMetaDataLabel(&ns.ObjectMeta, corev1.LabelMetadataName, ns.Name)
		},
		Update: func(ns, old *corev1.Namespace) {
			ns.Spec.Finalizers = old.Spec.Finalizers
			ns.Status = old.Status
			metav1.SetMetaDataLabel(&ns.ObjectMeta, corev1.LabelMetadataName, ns.Name)
		},
		UpdateStatus: func(ns, old *corev1.Namespace) { ns.Spec = old.Spec },
		Finalize:     func(ns, old *corev1.Namespace) { ns.Status = old.Status },
		MarkDeleted:  func(ns *corev1.Namespace) { ns.Status.Phase = corev1.NamespaceTerminating },
		Held:         func(ns *corev1.Namespace) bool { return len(ns.Spec.Finalizers) > 0 },
		// The namespace controller removes the content whatever the policy.
		IgnoresPropagation: true,
	},
	Honours: honour.Types{
		honour.Of[corev1.Namespace]():     {Honoured: "TypeMeta metadata spec status"},
		honour.Of[corev1.NamespaceSpec](): {Honoured: "finalizers"},
	},
	Rules: kind.Rules[*corev1.Namespace]{
		Name:   apivalidation.ValidateNamespaceName,
		Create: validateNamespace,
		Update: validateNamespaceUpdate,
		Status: validateNamespaceStatus,
	},
	Table: kind.Table[*corev1.Namespace]{
		Columns: column.Define("Name", "Status", "Age"),
		Row:     namespaceRow,
	},
	Fields: kind.Fields[*corev1.Namespace]{
		Names: []string{"status.phase"},
		Read:  func(ns *corev1.Namespace, into fields.Set) { into["status.phase"] = string(ns.Status.Phase) },
	},
	Health: kind.Health[*corev1.Namespace]{Of: namespaceHealth},
})

func defaultNamespace(ns *corev1.Namespace) {
	fill.Zero(&ns.Status.Phase, corev1.NamespaceActive)
	if ns.Name != "" {
		metav1.SetMetaDataLabel(&ns.ObjectMeta, corev1.LabelMetadataName, ns.Name)
	}
}

func namespaceRow(ns *corev1.Namespace, now time.Time) []any {
	return []any{ns.Name, string(ns.Status.Phase), column.Age(ns, now)}
}

func validateNamespace(ns *corev1.Namespace) field.ErrorList {
	var errs field.ErrorList
	for _, f := range ns.Spec.Finalizers {
		// Kubernetes does not tell which of a new namespace's it is.
		errs = append(errs, namespaceFinalizer(f, rule.Spec.Child("finalizers"))...)
	}
	return errs
}

func validateNamespaceUpdate(ns, _ *corev1.Namespace) field.ErrorList {
	var errs field.ErrorList
	for i, f := range ns.Spec.Finalizers {
		errs = append(errs, namespaceFinalizer(f, rule.Spec.Child("finalizers").Index(i))...)
	}
	return errs
}

func namespaceFinalizer(f corev1.FinalizerName, path *field.Path) field.ErrorList {
	return append(apivalidation.ValidateFinalizerName(string(f), path), rule.Finalizer(string(f), path)...)
}

func validateNamespaceStatus(ns, _ *corev1.Namespace) field.ErrorList {
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

func namespaceHealth(ns *corev1.Namespace, _ object.Reader) health.Result {
	if ns.Status.Phase == corev1.NamespaceTerminating {
		return health.Result{Status: health.Terminating, Message: "Resource scheduled for deletion"}
	}
	return health.Result{Status: health.Current, Message: "Resource is current"}
}
