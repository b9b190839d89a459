// Package audit is the audit log of API requests: kube-apiserver's flags, policy
// and backends, by k8s.io/apiserver, and what is ours about it: no policy brings
// the contents of Secrets or tokens into it, and what waits to be written is
// bounded in bytes.
//
// [Options] are the flags; [Options.Open] makes the [Log] that the API server
// writes to, runs and closes.
package audit
