// Package diff compares two states of an object field by field.
//
// Objects walks both states by their Go types: the items of lists are matched
// by the merge keys that the types give, maps by key. Defaulted fields are no
// difference if the caller has set the defaults on both sides. Only the values
// that differ are shown, and of Secrets not even those.
package diff
