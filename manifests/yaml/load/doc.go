// Package load turns a tree of files into objects: strict decoding of YAML and
// JSON with file and line in every error, multi-document files, lists, and
// kustomize directories rendered in memory. Nothing is executed, no network is
// reached and nothing outside the tree is read.
//
// Dir loads a directory and Bytes one file; both return Items, each an object
// with the Source it was declared at. Every fault is an *Error; a load
// collects all of them:
//
//	fs.FS ── Dir ──┬─ plain directory ───────────────▶ Bytes ─▶ split documents ─▶ decode strictly ─▶ []Item
//	               └─ kustomization ─▶ krusty on treeFS ─▶ rendered objects ───────────┘
//
// A field path that is found wrong later, by validation for example, is turned
// into a line of the file by Item.Line, or into an *Error by Item.Fault.
//
// Loads may run concurrently. Kustomizations are built in processes of their
// own, with a budget: see package kustomize.
package load
