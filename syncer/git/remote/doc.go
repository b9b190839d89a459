// Package remote speaks with a Git repository behind http, https or ssh: it
// lists references, fetches a pack, and pushes one, in Git's protocol.
//
// Key types, in reading order: [Remote], [Auth] (what the Secrets of a source
// say), [Session] (the references, then one [Session.Fetch] or
// [Session.Push]), and [Error], in which the remote has its say.
//
// Whatever a remote does is bounded (conversation.go), connections belong to
// one source alone (client.go), and what was sent as a secret is taken out of
// what a remote says (redact.go).
package remote
