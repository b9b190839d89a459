// Package custom serves custom resources: the objects of the kinds that
// CustomResourceDefinitions define. k8s.io/apiextensions-apiserver does it, as the
// delegate of the API server in the same process: what the server itself does not
// serve goes there, behind the same filters and the same admission.
//
//	request ─▶ filters ─▶ Headway's kinds ─no▶ crdHandler ─▶ storage.Options ─▶ store
//	                           ▲ CustomResourceDefinition      (by scheme.Registry)
//	                           └── its informer and controllers, in process
//
// The definitions are a kind like all others: stored, validated and served by
// Headway. The library gets them through an in-process client, and its cache
// shares the store's objects. It builds what a definition needs (schemas,
// validators, merge rules) at the first request for one of its resources; OpenAPI
// documents are built when they are asked for, in engine/api/openapi.
//
// What the library does too slowly is done around it: lists in JSON get their items
// here, on their way out.
package custom
