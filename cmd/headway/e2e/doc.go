// Package e2e holds the stories of Headway's users, told to the real program:
// a cluster in a network namespace of its own, real Git, containerd, iptables
// and kubectl. A story looks at the cluster only from outside.
//
// Start gives a cluster that follows a clone of the example repository; the
// test commits and pushes with git, asks with headway and kubectl, and sends
// requests to Services from inside the cluster's network namespace.
//
// Clusters share nothing, and much of a story is waiting: all run side by side
// but those that count requests or log lines under load.
package e2e
