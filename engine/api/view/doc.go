// Package view serves the objects of one kind in another group and form, as a
// kind.View describes it: [Storage] is the REST storage of the kind, with what
// comes in and what goes out converted. It is immutable and safe for concurrent
// use.
package view
