// Package fill sets the fields that a manifest omits: single fields, and all
// those that pods and pod templates share. The values are those of the
// Kubernetes API reference. All of it is pure and safe for concurrent use on
// different objects.
package fill

// Zero sets *field to value if it is the zero value.
func Zero[T comparable](field *T, value T) {
	var none T
	if *field == none {
		*field = value
	}
}

// Unset sets *field to a pointer to value if it is nil.
func Unset[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
