package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
)

var secret = kind.Define[corev1.Secret, corev1.SecretList](kind.Definition[*corev1.Secret]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Secret"),
		Plural:           "secrets", Singular: "secret",
		Namespaced: true,
	},
	Default: defaultSecret,
	Table: kind.Table[*corev1.Secret]{
		Columns: column.Define("Name", "Type", "#Data", "Age"),
		Row:     secretRow,
	},
	Fields: kind.Fields[*corev1.Secret]{
		Names: []string{"type"},
		Read:  func(s *corev1.Secret, into fields.Set) { into["type"] = string(s.Type) },
	},
})

// defaultSecret also moves stringData, which is for writing only, into data.
func defaultSecret(s *corev1.Secret) {
	fill.Zero(&s.Type, corev1.SecretTypeOpaque)
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = make(map[string][]byte, len(s.StringData))
	}
	for key, value := range s.StringData {
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

func secretRow(s *corev1.Secret, now time.Time) []any {
	return []any{s.Name, string(s.Type), int64(len(s.Data)), column.Age(s, now)}
}
