// Package api is the Kubernetes-compatible API server: k8s.io/apiserver's
// protocol over engine/store.
//
//	kubectl, client-go ──TLS──▶ http.Server ─┐
//	agents, proxy ──InProcess transport──────┤
//	                                         ▼
//	         filters: panic · request info · deadline · authentication
//	                  · impersonation · in-flight limit · queue of large answers
//	                  · authorization
//	                                         ▼
//	    aggregate: what an APIService hands on ──▶ another API server
//	                                         ▼
//	    handlers of k8s.io/apiserver: decode, admission, patch, apply, watch
//	                                         ▼
//	   registry (REST storages) ─▶ strategy ─▶ manifests/{lifecycle,validation}
//	                                         ▼
//	                storage (storage.Interface) ─▶ engine/store
//
// [New] wires a [Server], [Server.Run] serves until its context ends, and
// [Server.InProcess] gives components of the same process a client
// configuration that needs no connection. The names, columns and selectable
// fields of a kind come from its definition in manifests/model/kinds, which
// manifests/model/scheme lists. Subresources that only few kinds have are in
// registry, what nodes may do in authz, schemas in openapi. CONTRIBUTING.md
// tells how to add a kind.
//
// A Server is safe for concurrent use. Its goroutines are the listener's, one
// per in-process request, one per handler that has a deadline, one per APIService
// with a Service, and the library's housekeeping; Run waits for all.
package api
