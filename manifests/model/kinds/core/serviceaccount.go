package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/kind"
)

var serviceAccount = kind.Define[corev1.ServiceAccount, corev1.ServiceAccountList](kind.Definition[*corev1.ServiceAccount]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
		Plural:           "serviceaccounts", Singular: "serviceaccount",
		ShortNames: []string{"sa"}, Namespaced: true,
	},
	Subresources: []string{"token"},
	REST:         kind.REST{ReturnsDeleted: true},
	Table: kind.Table[*corev1.ServiceAccount]{
		Columns: column.Define("Name", "#Secrets", "Age"),
		Row:     serviceAccountRow,
	},
})

func serviceAccountRow(sa *corev1.ServiceAccount, now time.Time) []any {
	return []any{sa.Name, int64(len(sa.Secrets)), column.Age(sa, now)}
}
