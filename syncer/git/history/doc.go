// Package history answers questions about the history of a repository: which
// commits came between two others ([Between], [Since]), whether one is in the
// history of another ([IsAncestor]), which commit set each line of a file
// ([Blame]), and what stands nearest to it ([Nearest]).
//
// All of them go on from one kind of frontier (frontier.go), in which parents
// decide, and dates only determine where to look first; [Nearest] looks in the order
// of distance instead. All but the blame use one walk (walk.go).
package history
