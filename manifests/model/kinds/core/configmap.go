package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/kind"
)

var configMap = kind.Define[corev1.ConfigMap, corev1.ConfigMapList](kind.Definition[*corev1.ConfigMap]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		Plural:           "configmaps", Singular: "configmap",
		ShortNames: []string{"cm"}, Namespaced: true,
	},
	Table: kind.Table[*corev1.ConfigMap]{
		Columns: column.Define("Name", "#Data", "Age"),
		Row:     configMapRow,
	},
})

func configMapRow(cm *corev1.ConfigMap, now time.Time) []any {
	return []any{cm.Name, int64(len(cm.Data) + len(cm.BinaryData)), column.Age(cm, now)}
}
