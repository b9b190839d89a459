// Package write makes commits in a repository and moves its branches to them,
// never by force: of edited files ([Files]), of what takes other commits back
// ([Revert], [RevertOn]), and the first one of a repository ([Create]).
//
// A branch moves by [Advance]: of a local repository by Git's own lock file
// (advance.go), of a mirror by a push to its remote (push.go). Lines are merged
// as Git merges them (merge.go, linediff.go).
package write
