// Package health describes what is wrong with an object, in the words of
// kstatus and kubectl rollout status, and has the parts of which the health of
// kinds is made. For a workload the reason is taken from its pods (image cannot
// be pulled, no node fits, probe fails, crash loop).
//
// A pod's trouble never makes its workload Failed, because most of it can
// resolve itself (a registry comes back, a missing Secret arrives). So the
// workload stays InProgress with the reason until its progress deadline, or the
// timeout of the caller, decides. manifests/model/assess judges objects.
package health
