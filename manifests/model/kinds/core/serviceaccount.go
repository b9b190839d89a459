package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

var serviceAccount = kind.Define[corev1.ServiceAccount, corev1.ServiceAccountList](kind.Definition[*corev1.ServiceAccount]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
		Plural:           "serviceaccounts", Singular: "serviceaccount",
		ShortNames: []string{"sa"}, Namespaced: true,
	},
	Order:        60,
	Subresources: []string{"token"},
	REST:         kind.REST{ReturnsDeleted: true},
	Honours: honour.Types{
		honour.Of[corev1.ServiceAccount](): {
			Honoured: "TypeMeta metadata secrets imagePullSecrets automountServiceAccountToken",
		},
		honour.Of[corev1.ObjectReference](): {Honoured: "kind namespace name uid apiVersion resourceVersion fieldPath"},
	},
	Rules: kind.Rules[*corev1.ServiceAccount]{
		Name: apivalidation.ValidateServiceAccountName,
		Duplicates: func(a *corev1.ServiceAccount) field.ErrorList {
			return rule.Twice(field.NewPath("secrets"), "name", a.Secrets, func(r corev1.ObjectReference) any { return r.Name })
		},
	},
	Warnings: func(a, old *corev1.ServiceAccount) []string {
		const enforce = "kubernetes.io/enforce-mountable-secrets"
		if old != nil {
			if _, ok := old.Annotations[enforce]; ok {
				return nil
			}
		}
		if _, ok := a.Annotations[enforce]; !ok {
			return nil
		}
		return []string{"metadata.annotations[" + enforce + "]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"}
	},
	Table: kind.Table[*corev1.ServiceAccount]{
		Columns: column.Define("Name", "Age"),
		Row:     serviceAccountRow,
	},
})

func serviceAccountRow(sa *corev1.ServiceAccount, now time.Time) []any {
	return []any{sa.Name, column.Age(sa, now)}
}
