// Package aggregate hands group versions of the API on to other servers, as
// APIServices say, and keeps the APIServices of what the server serves itself.
//
//	request ─▶ filters ─▶ [Aggregator.Handler] ─no APIService with a Service▶ own kinds, custom resources
//	                            │ front-proxy certificate, X-Remote-User, …
//	                            ▼
//	                      an endpoint of the Service
//
// Each APIService with a Service has a loop of its own ([backend]), so that a slow
// one keeps nobody waiting: it asks the server behind the Service whether it
// answers, notes that in the condition Available, and takes in what it says of
// itself (discovery, OpenAPI), of which nothing counts but what is about its own
// group version.
//
// k8s.io/kube-aggregator has the types; its server and its controllers work on
// informers of all Services and EndpointSlices, which the store makes superfluous.
package aggregate
