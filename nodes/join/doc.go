// Package join makes a machine a node of a cluster that runs elsewhere, as kubeadm does:
//
//	Discover  URL, token, hash of the authority ─▶ the authority, proven
//	Identify  token ─▶ CertificateSigningRequest ─▶ the node's certificate
//	Client    the API as the node; its certificate is renewed before it ends
//	Serving   the certificate by which the node serves logs and exec
//
// What it learns is kept in a directory, so that a machine which has joined starts again
// without a token, and while the server is down.
package join
