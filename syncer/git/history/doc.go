// Package history tells what the history of a repository says: which commits
// came between two others ([Between], [Since]), whether one is in the history
// of another ([IsAncestor]), and which commit set each line of a file
// ([Blame]).
//
// All but the blame go through the history by one walk (walk.go), in which
// parents decide and dates only say where to look first.
package history
