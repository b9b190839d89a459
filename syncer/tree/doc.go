// Package tree has the files of one revision, whatever they came from: a
// repository, several that are put together, or files with edits on top.
package tree
