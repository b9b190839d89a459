// Package history answers questions about the history of a repository: which
// commits came between two others ([Between], [Since]), whether one is in the
// history of another ([IsAncestor]), and which commit set each line of a file
// ([Blame]).
//
// All of them except the blame use one walk through the history (walk.go), in
// which parents decide and dates only determine where to look first.
package history
