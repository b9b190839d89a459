package job

import (
	"cmp"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
)

// manage brings the number of running pods to what the job asks for: it either
// deletes pods or makes some.
func (d *decision) manage() {
	if d.suspended() {
		d.forget(d.active[:min(len(d.active), burst)])
		return
	}
	want := d.wanted()
	if surplus := d.surplus(len(d.active) - want); len(surplus) > 0 {
		d.forget(surplus[:min(len(surplus), burst)])
		return
	}
	missing := want - len(d.active)
	if d.replacesFailedOnly() {
		missing -= len(d.terminating)
	}
	if missing <= 0 || d.hold {
		return
	}
	perIndex := d.job.Spec.BackoffLimitPerIndex != nil
	if wait := d.Backoff.left(d.now); wait > 0 && !perIndex {
		d.lookAfter(wait)
		return
	}
	missing = min(missing, burst)
	if !d.indexed() {
		d.Create = slices.Repeat([]Creation{{Index: unknown}}, missing)
		return
	}
	for _, index := range d.pending(missing) {
		c := Creation{Index: index}
		if last := d.kept[index]; perIndex && last != nil {
			if wait := (Backoff{attempts(last) + 1, endOf(last)}).left(d.now); wait > 0 {
				d.lookAfter(wait)
				continue
			}
			c.Failed, c.Ignored = failuresBefore(last)
			if judge(d.job.Spec.PodFailurePolicy, last).counts() {
				c.Failed++
			} else {
				c.Ignored++
			}
			// The new pod knows of its failure, so it need not wait any longer.
			delete(d.kept, index)
		}
		d.Create = append(d.Create, c)
	}
}

// wanted is how many pods should run.
func (d *decision) wanted() int {
	parallelism := int(ptr.Deref(d.job.Spec.Parallelism, 1))
	if d.job.Spec.Completions == nil {
		// Once one has succeeded, the others only finish.
		if d.succeeded > 0 {
			return len(d.active)
		}
		return parallelism
	}
	return max(0, min(parallelism, d.completions()-d.succeeded))
}

// pending are the first n indexes for which a pod has to be made.
func (d *decision) pending(n int) []int {
	taken := d.done.union(d.broken)
	for _, pod := range d.active {
		if index := indexOf(pod); index != unknown {
			taken = taken.with(index)
		}
	}
	if d.replacesFailedOnly() {
		for _, pod := range d.terminating {
			if index := indexOf(pod); index != unknown {
				taken = taken.with(index)
			}
		}
	}
	return taken.missing(n, d.completions())
}

// surplus are pods to be deleted: those of an indexed job that have no index, one
// beyond the job or that of another pod, and as many as are too many.
func (d *decision) surplus(atLeast int) []*corev1.Pod {
	ranked := slices.Clone(d.active)
	slices.SortStableFunc(ranked, d.lesser)
	if !d.indexed() {
		return ranked[:max(0, atLeast)]
	}
	var surplus, left []*corev1.Pod
	seen := map[int]bool{}
	for _, pod := range slices.Backward(ranked) { // what is worth most stays
		if index := indexOf(pod); !d.valid(pod) || seen[index] || d.done.has(index) {
			surplus = append(surplus, pod)
		} else {
			seen[index] = true
			left = append(left, pod)
		}
	}
	slices.Reverse(left)
	if more := atLeast - len(surplus); more > 0 {
		surplus = append(surplus, left[:more]...)
	}
	return surplus
}

// lesser orders pods by how little is lost with them.
func (d *decision) lesser(a, b *corev1.Pod) int {
	phase := map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}
	return cmp.Or(
		control.TrueFirst(a.Spec.NodeName == "", b.Spec.NodeName == ""),
		cmp.Compare(phase[a.Status.Phase], phase[b.Status.Phase]),
		control.TrueFirst(!control.Ready(a), !control.Ready(b)),
		b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
		cmp.Compare(a.UID, b.UID),
	)
}

// forget deletes pods that run, and counts them as nothing.
func (d *decision) forget(pods []*corev1.Pod) {
	d.Delete = append(d.Delete, pods...)
	for _, pod := range pods {
		d.release(pod)
	}
	d.terminate(pods)
}

// terminate moves pods from the active to the terminating.
func (d *decision) terminate(pods []*corev1.Pod) {
	gone := make(map[*corev1.Pod]bool, len(pods))
	for _, pod := range pods {
		gone[pod] = true
	}
	d.terminating = append(d.terminating, pods...)
	d.active = slices.DeleteFunc(slices.Clone(d.active), func(pod *corev1.Pod) bool { return gone[pod] })
}

// Expiry is how long a job that has finished stays; false if for ever.
func Expiry(job *batchv1.Job, now time.Time) (left time.Duration, ends bool) {
	end := Finished(job)
	if end == nil || job.Spec.TTLSecondsAfterFinished == nil {
		return 0, false
	}
	return max(0, end.LastTransitionTime.Add(time.Duration(*job.Spec.TTLSecondsAfterFinished)*time.Second).Sub(now)), true
}
