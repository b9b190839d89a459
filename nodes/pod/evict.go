package pod

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"headway.dev/manifests/model/podspec"
)

// ReasonEvicted is the reason of an evicted pod, and of its event.
const ReasonEvicted = "Evicted"

// Inodes is the name of what the disk is short of when there are too many
// files.
const Inodes corev1.ResourceName = "inodes"

// Storage is the space that a pod takes on the node's disk, in bytes.
type Storage struct {
	// EmptyDirs are its emptyDirs on disk, by volume.
	EmptyDirs map[string]int64
	// Containers are the writable layers and logs, by container.
	Containers map[string]int64
	// Other is what else is the pod's: termination messages and the like.
	Other int64
	// Inodes is the number of files and directories in all of that.
	Inodes int64
}

// of is how much it is of what the disk may be short of.
func (s Storage) of(what corev1.ResourceName) int64 {
	if what == Inodes {
		return s.Inodes
	}
	return s.total()
}

// total returns the sum.
func (s Storage) total() int64 {
	total := s.Other
	for _, m := range []map[string]int64{s.EmptyDirs, s.Containers} {
		for _, n := range m {
			total += n
		}
	}
	return total
}

// StorageLimited reports whether the pod has limits that OverStorage checks.
func StorageLimited(p *corev1.Pod) bool {
	for _, v := range p.Spec.Volumes {
		if onDisk(v) && v.EmptyDir.SizeLimit != nil && v.EmptyDir.SizeLimit.Sign() > 0 {
			return true
		}
	}
	_, limited := storageLimit(p)
	return limited
}

func onDisk(v corev1.Volume) bool {
	return v.EmptyDir != nil && v.EmptyDir.Medium != corev1.StorageMediumMemory
}

func storageLimit(p *corev1.Pod) (resource.Quantity, bool) {
	limit, ok := resourcehelper.PodLimits(p, resourcehelper.PodResourcesOptions{})[corev1.ResourceEphemeralStorage]
	return limit, ok && limit.Sign() > 0
}

// OverStorage returns why a pod must be evicted for the disk space it takes, in
// the kubelet's words and order; empty if it keeps its limits.
func OverStorage(p *corev1.Pod, used Storage) string {
	for _, v := range p.Spec.Volumes {
		if !onDisk(v) || v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.Sign() <= 0 {
			continue
		}
		if used.EmptyDirs[v.Name] > v.EmptyDir.SizeLimit.Value() {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit)
		}
	}
	if limit, ok := storageLimit(p); ok && used.total() > podspec.Whole(limit) {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", &limit)
	}
	for _, c := range p.Spec.Containers {
		if limit, ok := c.Resources.Limits[corev1.ResourceEphemeralStorage]; ok && limit.Sign() > 0 && used.Containers[c.Name] > limit.Value() {
			return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, &limit)
		}
	}
	return ""
}

// Candidate is a pod that may be evicted to free the node's disk.
type Candidate struct {
	Pod  *corev1.Pod
	Used Storage
}

// RankForDisk orders pods by which is evicted first when the disk is short of
// something: those that use more than they requested, then by priority, then by
// how much they use above their request. Pods that the node cannot do without,
// and those that take nothing, are omitted.
// https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#pod-selection-for-kubelet-eviction
func RankForDisk(pods []Candidate, what corev1.ResourceName) []Candidate {
	above := func(c Candidate) int64 { return c.Used.of(what) - storageRequest(c.Pod, what) }
	pods = slices.DeleteFunc(slices.Clone(pods), func(c Candidate) bool { return critical(c.Pod) || c.Used.of(what) <= 0 })
	slices.SortStableFunc(pods, func(a, b Candidate) int {
		aboveA, aboveB := above(a), above(b)
		if (aboveA > 0) != (aboveB > 0) {
			return cmp.Compare(aboveB, aboveA)
		}
		return cmp.Or(cmp.Compare(priority(a.Pod), priority(b.Pod)), cmp.Compare(aboveB, aboveA))
	})
	return pods
}

func storageRequest(p *corev1.Pod, what corev1.ResourceName) int64 {
	request := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})[what] // nobody requests inodes
	return podspec.Whole(request)
}

func priority(p *corev1.Pod) int32 {
	if p.Spec.Priority == nil {
		return 0
	}
	return *p.Spec.Priority
}

// critical reports whether the priority is that of system-cluster-critical or
// above.
func critical(p *corev1.Pod) bool { return priority(p) >= 2000000000 }

// LowDisk is the message of an eviction because the node is short of what.
func LowDisk(c Candidate, what corev1.ResourceName, threshold, available *resource.Quantity) string {
	var b strings.Builder
	fmt.Fprintf(&b, "The node was low on resource: %s. Threshold quantity: %s, available: %s. ", what, threshold, available)
	if what != corev1.ResourceEphemeralStorage {
		return b.String() // the kubelet says no more of inodes either
	}
	for _, container := range c.Pod.Spec.Containers {
		request := container.Resources.Requests[corev1.ResourceEphemeralStorage]
		if used := c.Used.Containers[container.Name]; used > podspec.Whole(request) {
			fmt.Fprintf(&b, "Container %s was using %s, request is %s, has larger consumption of %s. ",
				container.Name, kib(used), &request, corev1.ResourceEphemeralStorage)
		}
	}
	return b.String()
}

// kib rounds as the kubelet shows file systems.
func kib(n int64) *resource.Quantity {
	return resource.NewQuantity(n>>10<<10, resource.BinarySI)
}
