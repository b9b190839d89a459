package scheduler

import (
	"cmp"
	"container/heap"
	"time"

	corev1 "k8s.io/api/core/v1"
	scheduling "k8s.io/component-helpers/scheduling/corev1"

	"headway.dev/engine/scheduler/placement"
	"headway.dev/manifests/model/object"
)

const (
	// firstBackoff and lastBackoff are the usual ones.
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
	// class and causes are of why it fits nowhere.
	class  string
	causes placement.Cause

	in    *ordered // the heap that it is in, if any
	index int      // there
}

// queue holds the pods without a node. It belongs to the scheduler's
// goroutine. An item is active, or in the back-off after an error, or it fits
// nowhere and waits for an event, or it has gates and waits for their end.
type queue struct {
	items map[object.Key]*item
	// active are to be scheduled, by their importance; later are the others, by
	// when they are looked at again.
	active, later *ordered
	// waiting are those that fit nowhere, by what is the same for many.
	waiting map[string]map[object.Key]*item
	// first and last are how long a pod waits after its first failure, and at most.
	first, last time.Duration
}

func newQueue(first, last time.Duration) *queue {
	return &queue{
		first: cmp.Or(first, firstBackoff), last: cmp.Or(last, lastBackoff),
		items: map[object.Key]*item{}, waiting: map[string]map[object.Key]*item{},
		active: &ordered{less: moreImportant}, later: &ordered{less: func(a, b *item) bool { return a.again.Before(b.again) }},
	}
}

// set adds a pod or replaces its state; it is then ready to be scheduled.
func (q *queue) set(key object.Key, pod *corev1.Pod, now time.Time) {
	it := q.items[key]
	if it == nil || it.pod.UID != pod.UID {
		q.remove(key)
		it = &item{key: key, since: now}
		q.items[key] = it
	}
	q.out(it)
	it.pod = pod
	q.active.add(it)
}

func (q *queue) remove(key object.Key) {
	if it := q.items[key]; it != nil {
		q.out(it)
		delete(q.items, key)
	}
}

// out takes an item from where it is.
func (q *queue) out(it *item) {
	if it.in != nil {
		heap.Remove(it.in, it.index)
	}
	if it.class != "" {
		if delete(q.waiting[it.class], it.key); len(q.waiting[it.class]) == 0 {
			delete(q.waiting, it.class)
		}
		it.class = ""
	}
}

// gated puts an item aside until its pod changes.
func (q *queue) gated(it *item) { q.out(it) }

// fitsNowhere puts an item aside until an event helps.
func (q *queue) fitsNowhere(it *item, f *placement.Failure, now time.Time) {
	q.out(it)
	it.failures, it.again = 0, now.Add(stuckFor)
	it.class, it.causes = "c"+f.Class, f.Causes
	if q.waiting[it.class] == nil {
		q.waiting[it.class] = map[object.Key]*item{}
	}
	q.waiting[it.class][it.key] = it
	q.later.add(it)
}

// failed puts an item aside for a back-off that grows.
func (q *queue) failed(it *item, now time.Time) {
	q.out(it)
	it.again = now.Add(backoff(q.first, q.last, it.failures))
	it.failures++
	q.later.add(it)
}

// backoff doubles with each failure.
func backoff(first, last time.Duration, failures int) time.Duration {
	for ; failures > 0 && first < last; failures-- {
		first *= 2
	}
	return min(first, last)
}

// pop takes the next item to schedule, nil for none. It stays among the items, and
// must be put somewhere.
func (q *queue) pop(now time.Time) *item {
	for q.later.Len() > 0 && !q.later.list[0].again.After(now) {
		q.activate(q.later.list[0])
	}
	if q.active.Len() == 0 {
		return nil
	}
	it := q.active.list[0]
	q.out(it)
	return it
}

func (q *queue) activate(it *item) {
	q.out(it)
	q.active.add(it)
}

// next is when pop has something without an event, zero for never.
func (q *queue) next(now time.Time) time.Time {
	switch {
	case q.active.Len() > 0:
		return now
	case q.later.Len() > 0:
		return q.later.list[0].again
	default:
		return time.Time{}
	}
}

// wake activates the waiting items that helps accepts, which is asked about one of
// each class.
func (q *queue) wake(helps func(*corev1.Pod, placement.Cause) bool) {
	for _, class := range q.waiting {
		for _, it := range class {
			if !helps(it.pod, it.causes) {
				break
			}
			q.activate(it)
		}
	}
}

// moreImportant orders by priority, and then by who waits longer.
func moreImportant(a, b *item) bool {
	return cmp.Or(
		cmp.Compare(scheduling.PodPriority(b.pod), scheduling.PodPriority(a.pod)),
		a.since.Compare(b.since),
		a.pod.CreationTimestamp.Compare(b.pod.CreationTimestamp.Time),
		cmp.Compare(a.key.Namespace, b.key.Namespace),
		cmp.Compare(a.key.Name, b.key.Name),
	) < 0
}

// ordered is a heap of items, each of which knows where it is.
type ordered struct {
	less func(a, b *item) bool
	list []*item
}

func (h *ordered) add(it *item) { heap.Push(h, it) }

// Len implements heap.Interface, as the following do.
func (h *ordered) Len() int { return len(h.list) }

func (h *ordered) Less(i, j int) bool { return h.less(h.list[i], h.list[j]) }

func (h *ordered) Swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].index, h.list[j].index = i, j
}

// Push implements heap.Interface.
func (h *ordered) Push(x any) {
	it := x.(*item)
	it.in, it.index = h, len(h.list)
	h.list = append(h.list, it)
}

// Pop implements heap.Interface.
func (h *ordered) Pop() any {
	last := len(h.list) - 1
	it := h.list[last]
	h.list[last] = nil
	h.list, it.in = h.list[:last], nil
	return it
}
