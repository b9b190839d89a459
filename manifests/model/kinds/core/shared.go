package core

import (
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const immutableMessage = "field is immutable when `immutable` is set"

func staysImmutable(value *bool) field.ErrorList {
	if value != nil && *value {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("immutable"), immutableMessage)}
}

// same does not show the values: they may be secret.
func same(value, old any, name string) field.ErrorList {
	if equality.Semantic.DeepEqual(value, old) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath(name), immutableMessage)}
}
