package core

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
)

var namespace = kind.Define[corev1.Namespace, corev1.NamespaceList](kind.Definition[*corev1.Namespace]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Namespace"),
		Plural:           "namespaces", Singular: "namespace",
		ShortNames: []string{"ns"},
	},
	Status:       true,
	Subresources: []string{"finalize"},
	Default:      defaultNamespace,
	// A namespace is held by spec.finalizers, which only the finalize
	// subresource may change; a delete makes it Terminating until they are gone.
	Lifecycle: kind.Lifecycle[*corev1.Namespace]{
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
	Table: kind.Table[*corev1.Namespace]{
		Columns: column.Define("Name", "Status", "Age"),
		Row:     namespaceRow,
	},
	Fields: kind.Fields[*corev1.Namespace]{
		Names: []string{"status.phase"},
		Read:  func(ns *corev1.Namespace, into fields.Set) { into["status.phase"] = string(ns.Status.Phase) },
	},
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
