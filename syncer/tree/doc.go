// Package tree contains the files of one revision, whatever they came from: a
// repository, several that are combined, or files with edits on top.
package tree
