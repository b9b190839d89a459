// Package fill sets the fields that a manifest leaves out: single ones, and all
// those that pods and pod templates share. What it sets is what the Kubernetes
// API reference gives. All of it is pure and safe for concurrent use on
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
