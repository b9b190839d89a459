// Package kustomize runs kustomize on files that somebody else has written.
//
// The library takes no context and no limits, and little input makes much work
// for it: replacements can double a field again and again, and bases are built
// anew for each that refers to them. So a build runs in a process of its own, the
// same program started again, which has a budget of CPU time and memory, cannot
// open a file or a socket, and is killed when the context of the build ends. It
// asks for the files that it wants through a pipe:
//
//	Build ── dir ──▶ child: krusty on remoteFS
//	  FS  ◀─ path ─┘
//	      ── data ─▶
//	      ◀─ []Resource or an error
//
// A program that builds calls Main first thing, as does TestMain of a package
// whose tests do. Where nobody has, builds run in this process, one at a time,
// without limits.
package kustomize
