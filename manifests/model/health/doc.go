// Package health has the words for what is wrong with an object, as kstatus and
// kubectl rollout status have them, and what the health of kinds is made of: for
// a workload the reason is taken from its pods (image cannot be pulled, no node
// fits, probe fails, crash loop).
//
// A pod's trouble never makes its workload Failed: most of it can mend by itself
// (a registry comes back, a missing Secret arrives), so the workload stays
// InProgress with the reason until its progress deadline, or the timeout of who
// asks, decides. manifests/model/assess judges objects.
package health
