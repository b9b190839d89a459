// Package git reads and writes Git repositories for the syncer: in place for
// a repository on this machine, through a bare mirror in the data directory
// for one behind http(s) or ssh. It is the only user of go-git, and needs no
// git program.
//
// Key types, in reading order: [Repository] (opened by [Open] or [Mirror]),
// [Ref] and [Head] (what to follow and where it points), [Tree] (a commit's
// files as an [io/fs.FS], read from tree objects and never checked out),
// [Commit], and [Repository.Revert], which writes a revert commit and moves
// the branch forward without force.
//
//	Fetch(ref) ─▶ Head{main@sha1:…} ─▶ Tree(commit) ─▶ fs.FS
//	Watch ───────▶ a local ref changed: Fetch again
//
// Whatever a remote or a committer does is bounded: fetches are one
// conversation with limits of its own (conversation.go, incoming.go), objects
// are received and read by package odb in bounded memory, and crafted trees are
// refused (tree.go).
//
// A Repository is safe for concurrent use. Another process may push to, pack
// or collect the same repository at any time: a read that misses an object
// looks at the packs again before it gives up.
package git
