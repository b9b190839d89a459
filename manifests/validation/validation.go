// Package validation says what is wrong with an object, in the words and with
// the field paths of the Kubernetes API.
package validation

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/object"
)

// Create validates a new object whose defaults are set.
func Create(obj object.Object) field.ErrorList { return nil }

// Update validates a change of everything but the status.
func Update(obj, old object.Object) field.ErrorList { return nil }

// UpdateStatus validates a change of the status.
func UpdateStatus(obj, old object.Object) field.ErrorList { return nil }
