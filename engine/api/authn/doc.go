// Package authn tells who makes a request, by the ways that kube-apiserver
// knows: who the process itself says it is, a client certificate, a bearer
// token of the token file, of a service account, of a bootstrap Secret, of an
// OpenID Connect issuer or of a webhook, and, where that is allowed, nobody.
//
// Key types, in reading order: [Options], kube-apiserver's flags, and what
// [Options.Open] makes of them, [Methods], which [Methods.Run] keeps up with
// their file; [New], which joins all ways.
//
// Tokens are in no error and no log: what is said of one that is refused is what
// its issuer's name, its claims' names and its times have to do with it.
//
// Everything here is safe for concurrent use.
package authn
