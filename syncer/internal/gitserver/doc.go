// Package gitserver serves Git repositories to tests, well or badly: Git's
// own HTTP backend behind faults that can be set while it runs ([New],
// [Server.Fail]), OpenSSH's server ([SSH]), and servers that accept
// connections and say nothing ([Dead]) or are not there ([Refused]), and what
// counts connections to one ([Front]). It also
// writes what Git refuses to write: objects of any content ([WriteObject])
// and answers with a pack made by hand ([Pack]).
package gitserver
