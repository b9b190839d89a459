// Package why tells why a pod, or what runs pods, is where it is or does not run yet.
//
//	object ──▶ Finder.Why ──▶ its pods ──▶ ofPod (pure) ──▶ reasons ──▶ the same of many pods together
//	             │                           └── Config.Place: what the scheduler says of each node
//	             └── what it belongs to ──▶ Kustomization, the commits that set the fields of the reasons
//
// An answer has nothing in it that its caller may not read: who may get the object gets
// its state; its pods, its events, the nodes, budgets and the Kustomization are in it
// if the caller may read those.
package why
