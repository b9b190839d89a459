// Package rbac decides by Role, ClusterRole and their bindings who may do what,
// as Kubernetes does.
//
// Key types, in reading order: [Index], which [Index.Observe] keeps up with the
// store, [User] and [Request], what [Index.Authorize] decides about,
// [Index.Escalates], which keeps a user from granting more than they have,
// [Index.After], which tells what holds after changes, and [Defaults] with
// [Reconcile], the roles that every cluster has.
//
//	store ──Observe──▶ Index ◀── Authorize (API server, syncer)
//	                         ◀── Escalates (admission, syncer)
//
// A decision looks up the bindings of the user and of each group, so its cost
// does not depend on how many there are in the cluster.
//
// An Index is safe for concurrent use. It changes with the transaction that
// changes a role or a binding, before that is acknowledged.
package rbac
