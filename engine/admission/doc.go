// Package admission asks plugins about changes before they are stored: each may
// change what is to be stored, and then each may refuse it.
//
//	request ─▶ api ──▶ Chain.Admit, Chain.Validate ──┐
//	                                                 ├─▶ store, and there the checks of engine/admit
//	controllers, scheduler, syncer ──▶ Writer.Commit ┘
//
// A [Chain] is one list of plugins for everybody who writes. The API server calls
// it with each request, as Kubernetes' does. Whoever writes inside the process
// does so by a [Writer], which tries a transaction on what can be read, calls the
// chain for each change that a plugin wants to see, and then commits what was
// admitted. If an object has changed meanwhile, all of it is done again.
//
// Plugins have the interfaces of k8s.io/apiserver/pkg/admission. They may take
// their time, and may ask others: nobody waits for them but who writes. What must
// hold between objects at the moment they are stored, such as unique addresses,
// is no matter of theirs: see engine/admit.
//
// A plugin that reads the cluster reads what [View] returns: a transaction's
// later changes are judged upon its earlier ones, and a plan upon what it plans.
//
// # Concurrency
//
// Chains are immutable, and plugins are called from many goroutines at once.
package admission
