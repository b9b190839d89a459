// Package pki makes and keeps the certificates of a cluster: one authority,
// the API server's serving certificate, and client certificates whose common
// name is the user and whose organizations are the user's groups, as
// Kubernetes reads them.
//
// [Ensure] loads a [Set] from a directory or makes what is missing or about to
// expire; [Set.Client] signs a client certificate; [WriteKubeconfig] writes the
// file that kubectl and client-go read. Keys are ECDSA P-256 and stay in files
// that only their owner can read.
//
// A Set is immutable after Ensure and safe for concurrent use.
package pki
