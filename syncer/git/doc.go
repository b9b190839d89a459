// Package git reads Git repositories for the syncer: in place for a repository
// on this machine, through a bare mirror in the data directory for one behind
// http(s) or ssh. With the rooms beside it, it is the only user of go-git, and
// needs no git program.
//
// Key types, in reading order: [Repository] (opened by [Open] or [Mirror]),
// [Ref] and [Head] (what to follow and where it points), [Tree] (a commit's
// files as an [io/fs.FS], read from tree objects and never checked out), and
// [Commit].
//
//	Fetch(ref) ─▶ Head{main@sha1:…} ─▶ Tree(commit) ─▶ fs.FS
//	Watch ───────▶ a local ref changed: Fetch again
//
// Below it are remote (the conversation with one) and odb (objects and packs);
// above it history (what came between commits, and who set a line), signature
// (who signed) and write (commits, reverts and pushes), which read by
// [Repository.Read].
//
// Whatever a remote or a committer does is bounded: fetches are one
// conversation with limits of its own (package remote, incoming.go), objects
// are received and read by package odb in bounded memory, and crafted trees are
// refused (tree.go).
//
// A Repository is safe for concurrent use. Another process may push to, pack
// or collect the same repository at any time: a read that misses an object
// looks at the packs again before it gives up.
package git
