// Package network connects the pods of one node: a bridge, one veth pair per
// pod, an address from the node's podCIDR, and the iptables rules that let pods
// reach the outside and the outside reach host ports.
//
//	netns of pod A          node                       netns of pod B
//	  eth0 ───────── veth ──▶ bridge ◀── veth ───────── eth0
//	                            │ gateway = first address of the podCIDR
//	                            ▼
//	        FORWARD · NAT in our own chains · default route
//
// [Network] owns the bridge and the chains; [Lease] is what is remembered of
// one pod, one file per pod below Config.StateDir, so that a restart finds
// every address in use. The rules are computed as a whole from the leases
// ([rules], a pure function) and written in one iptables-restore transaction.
//
// Concurrency: every method may be called from many goroutines. Leases and
// rules are changed under one mutex; links are made outside of it.
package network
