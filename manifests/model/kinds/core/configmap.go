package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

var configMap = kind.Define[corev1.ConfigMap, corev1.ConfigMapList](kind.Definition[*corev1.ConfigMap]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		Plural:           "configmaps", Singular: "configmap",
		ShortNames: []string{"cm"}, Namespaced: true,
	},
	Order: 120,
	Honours: honour.Types{
		honour.Of[corev1.ConfigMap](): {Honoured: "TypeMeta metadata immutable data binaryData"},
	},
	Rules: kind.Rules[*corev1.ConfigMap]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateConfigMap,
		Update: validateConfigMapUpdate,
	},
	Table: kind.Table[*corev1.ConfigMap]{
		Columns: column.Define("Name", "#Data", "Age"),
		Row:     configMapRow,
	},
})

func configMapRow(cm *corev1.ConfigMap, now time.Time) []any {
	return []any{cm.Name, int64(len(cm.Data) + len(cm.BinaryData)), column.Age(cm, now)}
}

func validateConfigMap(c *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	size := 0
	data, binary := field.NewPath("data"), field.NewPath("binaryData")
	for key, value := range c.Data {
		errs = append(errs, rule.Invalid(data.Key(key), key, validation.IsConfigMapKey(key))...)
		if _, twice := c.BinaryData[key]; twice {
			errs = append(errs, field.Invalid(data.Key(key), key, "duplicate of key present in binaryData"))
		}
		size += len(value)
	}
	for key, value := range c.BinaryData {
		errs = append(errs, rule.Invalid(binary.Key(key), key, validation.IsConfigMapKey(key))...)
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	return errs
}

func validateConfigMapUpdate(c, old *corev1.ConfigMap) field.ErrorList {
	if old.Immutable == nil || !*old.Immutable {
		return nil
	}
	errs := staysImmutable(c.Immutable)
	errs = append(errs, same(c.Data, old.Data, "data")...)
	return append(errs, same(c.BinaryData, old.BinaryData, "binaryData")...)
}
