// Package odb is Git's object database, on disk, in bounded memory: it reads
// objects of any size that a caller accepts, and receives packs from untrusted
// servers.
//
// [Store] finds objects, loose or packed, and keeps no index in memory that
// grows with the repository. [Receive] writes a pack to disk as it comes,
// checks it whole and indexes it: objects are hashed as a stream, and what
// deltas need as their base is kept in memory up to a budget and in temporary
// files beyond. [Store.Consolidate] joins small packs, so that their number
// stays small after thousands of fetches.
//
// A Store is safe for concurrent use, also beside other processes that push
// to, pack or collect the same repository.
package odb

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// Hash is the SHA-1 that names an object.
type Hash [20]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Kind is the type of an object.
type Kind uint8

// Kinds of objects, as numbered in packs. The deltas never leave the package.
const (
	Commit Kind = 1
	Tree   Kind = 2
	Blob   Kind = 3
	Tag    Kind = 4

	ofsDelta Kind = 6
	refDelta Kind = 7
)

var kindNames = map[Kind]string{Commit: "commit", Tree: "tree", Blob: "blob", Tag: "tag"}

func (k Kind) String() string { return kindNames[k] }

// kindOf is the kind that a loose object's header names; zero for none.
func kindOf(name string) Kind {
	for k, n := range kindNames {
		if n == name {
			return k
		}
	}
	return 0
}

// ErrNotFound says that there is no such object.
var ErrNotFound = errors.New("object not found")

// ErrCorrupt says that what was read is not what Git writes.
var ErrCorrupt = errors.New("corrupt")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// SizeError says that something is larger than allowed.
type SizeError struct {
	// What is too large, in words.
	What string
	// Size and Limit are in bytes, or in objects if What counts those. Size is
	// zero where only the limit's crossing is known.
	Size, Limit int64
}

func (e *SizeError) Error() string {
	if e.Size == 0 {
		return fmt.Sprintf("%s is larger than the limit of %d", e.What, e.Limit)
	}
	return fmt.Sprintf("%s of %d is larger than the limit of %d", e.What, e.Size, e.Limit)
}
