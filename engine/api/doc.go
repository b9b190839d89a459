// Package api is the Kubernetes-compatible API server: k8s.io/apiserver's
// protocol over engine/store.
//
//	kubectl, client-go ──TLS──▶ http.Server ─┐
//	agents, proxy ──InProcess transport──────┤
//	                                         ▼
//	         filters: panic · request info · deadline · authentication
//	                  · impersonation · in-flight limit · line of large answers
//	                  · authorization
//	                                         ▼
//	    handlers of k8s.io/apiserver: decode, admission, patch, apply, watch
//	                                         ▼
//	   registry (REST storages) ─▶ strategy ─▶ manifests/{lifecycle,validation}
//	                                         ▼
//	                storage (storage.Interface) ─▶ engine/store
//
// [New] wires a [Server], [Server.Run] serves until its context ends, and
// [Server.InProcess] gives parts of the same process a client configuration
// that needs no connection. What a kind is comes from manifests/model/scheme; what is
// special about some kinds stands in tables, each in its package: field
// selectors in fields, columns in printers, subresources in registry, what
// nodes may do in authz, schemas in openapi.
//
// To add a kind: add it to manifests/model/scheme (and its defaults, validation and
// lifecycle rules), its columns to printers, its selectable fields to fields,
// and run go generate in openapi.
//
// A Server is safe for concurrent use. Its goroutines are the listener's, one
// per in-process request, one per handler that has a deadline, and the library's
// housekeeping; Run waits for all.
package api
