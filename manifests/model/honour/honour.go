// Package honour has the words in which a kind says which fields of its
// manifests have their effect. manifests/model/support tells users.
package honour

import "reflect"

// Types has the fields of struct types, by the Go type.
type Types map[reflect.Type]Fields

// Fields are those of one struct type.
type Fields struct {
	// Honoured are the names of those with their effect, whatever their value.
	Honoured string
	// Rules are the others. A name may be in both: then the rule is about some
	// values, and the others are honoured.
	Rules map[string]*Rule
}

// Level is what happens to an object that sets a field.
type Level int

const (
	// Hint accepts the object with a warning; the field has no effect.
	Hint Level = iota + 1
	// Refused refuses the object.
	Refused
)

// Rule is about a field that is not honoured, or not with every value.
type Rule struct {
	Level Level
	// Reason explains why, and what to do instead if there is an alternative.
	Reason string
	// Values describes the values that the rule is about, for people. Empty:
	// all.
	Values string
	// Asks reports whether the struct that has the field asks for what is
	// missing. Nil: it does if the field is not the zero value, and no list or map
	// without entries.
	Asks func(parent reflect.Value) bool
	// At is a name to show below the field, such as a key of a map.
	At string
}

// Of is the key of a Go type.
func Of[T any]() reflect.Type { return reflect.TypeFor[T]() }

// When is a condition on the struct that has the field.
func When[T any](asks func(*T) bool) func(reflect.Value) bool {
	return func(parent reflect.Value) bool { return asks(parent.Addr().Interface().(*T)) }
}

// NotServed refuses a field whatever its value.
func NotServed(reason string) *Rule { return &Rule{Level: Refused, Reason: reason} }
