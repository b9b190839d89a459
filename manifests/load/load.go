// Package load turns a tree of files into objects: strict decoding of YAML and
// JSON with file and line in every error, multi-document files, and kustomize
// directories rendered in memory. Nothing is executed, no network is reached
// and nothing outside the tree is read.
package load

import (
	"io/fs"

	"headway.dev/manifests/object"
)

// Source is where in the tree an object came from.
type Source struct {
	File string // slash-separated path from the tree's root
	Line int    // 1-based line of the document's first key
}

// Item is one object of the tree, decoded strictly, without defaults.
type Item struct {
	Object object.Object
	Source Source
}

// Error is one fault in the tree. A load collects all of them.
type Error struct {
	Source Source
	// Field is the path in the object (spec.replicas), if the fault has one.
	Field  string
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// Options bound and shape a load. Zero limits mean the defaults.
type Options struct {
	MaxFiles      int
	MaxFileBytes  int64
	MaxTotalBytes int64
	MaxObjects    int
}

// Dir loads the directory dir of tree: through kustomize if it has a
// kustomization file, else every *.yaml, *.yml and *.json below it in lexical
// order (as Flux's generated kustomization does). On error it returns a
// joined error of *Error values (errors.Join), and no items.
func Dir(tree fs.FS, dir string, opts Options) ([]Item, error) { return nil, nil }
