// Package custom serves custom resources: the objects of the kinds that
// CustomResourceDefinitions define. k8s.io/apiextensions-apiserver does it, as the
// delegate of the API server in the same process: what the server itself does not
// serve goes there, behind the same filters and the same admission.
//
//	request ─▶ filters ─▶ Headway's kinds ─no▶ crdHandler ─▶ storage.Options ─▶ store
//	                           ▲ CustomResourceDefinition ▲     (by scheme.Registry)
//	                           │                          └── definitions: whole ones
//	                           └── the library's informer and controllers, in process,
//	                               which see definitions without their schemas
//
// The definitions are a kind like all others: stored, validated and served by
// Headway. The library's controllers get them through an in-process client, without
// schemas. What serves the resources of a definition (schemas, validators, merge
// rules) is built at the first request for one, and dropped when there have been no
// requests for half a minute; OpenAPI documents are built when they are asked for,
// in engine/api/openapi.
//
// What the library does too slowly is done around it: lists in JSON get their items
// here, on their way out.
package custom
