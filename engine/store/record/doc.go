// Package record writes objects as bytes, in the form of the store's file, and
// reads them again: a [Record] is what happened to one key, a [Codec] encodes
// the objects of one kind.
package record
