// Package nodes is the node agent: it registers this machine as a Node and runs
// the pods bound to it, as the kubelet does.
//
// [New] takes a [Config], [Agent.Run] blocks until its context ends. Containers
// keep running without the agent; the next Run adopts them.
//
//	API ──watch──▶ podStore ──▶ worker (one for each pod, a goroutine on demand)
//	                              │ observe: runtime.Get, probe results
//	runtime.Events ──hint────────▶│ pod.Decide ─▶ steps ─▶ runtime, volumes, hooks
//	probes ──verdict─────────────▶│            └▶ status ─▶ status.Writer ─patch──▶ API
//	ConfigMaps, Secrets ─change──▶│
//
// What to do is decided by package pod, which touches nothing; package worker
// carries the steps out and remembers why one failed. Room registration has the Node
// itself, objects what pods need of the API, pull their images, eviction the disk.
// Everything that must survive a crash is in the runtime or in the API. This package
// puts them together.
//
// Concurrency: one pod's work is serialised by its worker; a deletion or a
// shorter grace period cancels the step in progress. Run owns every goroutine
// and waits for all of them.
package nodes
