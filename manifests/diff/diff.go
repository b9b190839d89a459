// Package diff compares two states of an object field by field.
package diff

import "headway.dev/manifests/object"

// Field is one difference. Path is kubectl's notation with list items named
// by their merge key: spec.template.spec.containers[name=web].image.
type Field struct {
	Path     string `json:"path"`
	Old, New any    `json:",omitempty"`
}

// Objects lists the differences from old to new in path order, ignoring what
// the server owns (resourceVersion, uid, generation, creationTimestamp,
// managedFields, status). Either may be nil. Values of Secrets come out as
// "(changed)" or the like, never as themselves.
func Objects(old, new object.Object) []Field { return nil }
