// Package record writes objects as bytes, as they stand in the store's file, and
// reads them again: a [Record] is what happened to one key, a [Codec] encodes the
// objects of one kind.
package record
