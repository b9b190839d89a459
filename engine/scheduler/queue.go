package scheduler

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	scheduling "k8s.io/component-helpers/scheduling/corev1"

	"headway.dev/manifests/model/object"
)

const (
	firstBackoff = time.Second
	lastBackoff  = 10 * time.Second
	// stuckFor is after how long a pod that fits nowhere is looked at again
	// without an event.
	stuckFor = 5 * time.Minute
)

// item is a pod that waits for a node.
type item struct {
	key   object.Key
	pod   *corev1.Pod
	since time.Time // in the queue
	// failures of binding in a row, which the back-off is made from.
	failures int
	// again is when to look at it without an event: the end of a back-off, or
	// of a long wait.
	again time.Time
	// waits is set while only an event can help, or the time again.
	waits bool
}

// queue holds the pods without a node. It belongs to the scheduler's
// goroutine.
type queue struct {
	items map[object.Key]*item
}

func newQueue() *queue { return &queue{items: map[object.Key]*item{}} }

// set adds a pod or replaces its state; it is then ready to be scheduled.
func (q *queue) set(key object.Key, pod *corev1.Pod, now time.Time) {
	it := q.items[key]
	if it == nil || it.pod.UID != pod.UID {
		it = &item{key: key, since: now}
		q.items[key] = it
	}
	it.pod, it.waits, it.again = pod, false, time.Time{}
}

func (q *queue) remove(key object.Key) { delete(q.items, key) }

// fitsNowhere puts an item aside until an event helps.
func (q *queue) fitsNowhere(it *item, now time.Time) {
	it.waits, it.again, it.failures = true, now.Add(stuckFor), 0
}

// failed puts an item aside for a back-off that grows.
func (q *queue) failed(it *item, now time.Time) {
	it.waits, it.again = true, now.Add(min(lastBackoff, firstBackoff<<min(it.failures, 10)))
	it.failures++
}

// ready returns the items to schedule: higher priority first, then who waits
// longer.
func (q *queue) ready(now time.Time) []*item {
	var ready []*item
	for _, it := range q.items {
		if it.waits && !it.again.After(now) {
			it.waits = false
		}
		if !it.waits {
			ready = append(ready, it)
		}
	}
	slices.SortFunc(ready, func(a, b *item) int {
		return cmp.Or(
			cmp.Compare(scheduling.PodPriority(b.pod), scheduling.PodPriority(a.pod)),
			a.since.Compare(b.since),
			a.pod.CreationTimestamp.Compare(b.pod.CreationTimestamp.Time),
			cmp.Compare(a.key.Namespace, b.key.Namespace),
			cmp.Compare(a.key.Name, b.key.Name),
		)
	})
	return ready
}

// next is when ready has something without an event, zero for never.
func (q *queue) next() time.Time {
	var next time.Time
	for _, it := range q.items {
		if next.IsZero() || it.again.Before(next) {
			next = it.again
		}
	}
	return next
}

// wake makes the waiting items ready that helps accepts.
func (q *queue) wake(helps func(*corev1.Pod) bool) {
	for _, it := range q.items {
		if it.waits && it.failures == 0 && helps(it.pod) {
			it.waits = false
		}
	}
}
