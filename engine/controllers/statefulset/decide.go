package statefulset

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
)

// burst bounds how many pods one transaction creates or deletes.
const burst = 500

// Input is what a decision is made from.
type Input struct {
	Set *appsv1.StatefulSet
	// Pods are those that the set controls.
	Pods []*corev1.Pod
	// Claim returns a stored claim of the set's namespace, nil if there is none.
	Claim func(name string) *corev1.PersistentVolumeClaim
	// Current and Update are the names of the revisions of the pods before and after
	// the update; the same if there is none.
	Current, Update string
	// Backoff is how long a pod that has ended has to be left where it is (nil: not at
	// all).
	Backoff func(pod string) time.Duration
	Now     time.Time
}

// Creation is a pod to be made.
type Creation struct {
	Ordinal  int
	Revision string
}

// Plan is what to do.
type Plan struct {
	// Claims are made before the pods.
	Claims []NewClaim
	Own    []Ownership
	Create []Creation
	Delete []*corev1.Pod
	// Ended are those among Delete that have ended, and are made again.
	Ended []*corev1.Pod
	// Identify are pods whose labels do not tell their numbers.
	Identify []*corev1.Pod
	Events   []Event
	Status   appsv1.StatefulSetStatus
	// After is when to look again without an event (0: never).
	After time.Duration
}

// Event is told to users.
type Event struct{ Type, Reason, Message string }

// replica is a number of the set, counted from its start, and its pod, nil if there is none.
type replica struct {
	i   int
	pod *corev1.Pod
}

type decision struct {
	Input
	Plan
	// size is how many pods there are to be, and replicas the numbers of those that there
	// are, and of the first that are missing: a set may ask for any number of them.
	size     int
	replicas []replica
	// condemned are those with other numbers, the highest first.
	condemned []*corev1.Pod
}

// Decide returns the next step of a set: its order is
//
//  1. what is missing or has ended, the lowest number first; a pod's claims before it
//  2. what is too much, the highest number first
//  3. what has an old template, the highest number first
//
// Unless the set is Parallel, each of them waits until all pods before are available.
func Decide(in Input) Plan {
	d := &decision{Input: in}
	d.sort()
	for _, pod := range in.Pods {
		d.lookAfter(control.AvailableIn(pod, in.Set.Spec.MinReadySeconds, in.Now))
	}
	if in.Set.DeletionTimestamp == nil && d.fill() && d.shrink() {
		d.update()
	}
	if len(d.Delete) > burst {
		d.Delete = d.Delete[:burst]
		d.Ended = slices.DeleteFunc(d.Ended, func(pod *corev1.Pod) bool { return !slices.Contains(d.Delete, pod) })
	}
	d.tell()
	return d.Plan
}

func (d *decision) lookAfter(wait time.Duration) {
	if wait > 0 && (d.After == 0 || wait < d.After) {
		d.After = wait
	}
}

func (d *decision) start() int {
	start, _ := bounds(d.Set)
	return start
}

// bounds are the first number of the set's pods, and how many there are to be.
func bounds(set *appsv1.StatefulSet) (start, size int) {
	if set.Spec.Ordinals != nil {
		start = int(set.Spec.Ordinals.Start)
	}
	return start, int(max(0, ptr.Deref(set.Spec.Replicas, 1)))
}

func (d *decision) ordered() bool {
	return d.Set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
}

func (d *decision) sort() {
	_, d.size = bounds(d.Set)
	taken := map[int]bool{}
	for _, pod := range d.Pods {
		n := ordinal(d.Set, pod)
		switch i := n - d.start(); {
		case n == none:
		case i >= 0 && i < d.size:
			d.replicas = append(d.replicas, replica{i, pod})
			taken[i] = true
		default:
			d.condemned = append(d.condemned, pod)
		}
	}
	for i, missing := 0, 0; i < d.size && missing < burst; i++ {
		if !taken[i] {
			d.replicas = append(d.replicas, replica{i, nil})
			missing++
		}
	}
	slices.SortFunc(d.replicas, func(a, b replica) int { return cmp.Compare(a.i, b.i) })
	slices.SortFunc(d.condemned, func(a, b *corev1.Pod) int { return cmp.Compare(ordinal(d.Set, b), ordinal(d.Set, a)) })
}

func runs(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && control.Ready(pod)
}

func (d *decision) available(pod *corev1.Pod) bool {
	return runs(pod) && control.AvailableIn(pod, d.Set.Spec.MinReadySeconds, d.Now) == 0
}

// serves reports whether a pod is available and stays so.
func (d *decision) serves(pod *corev1.Pod) bool {
	return pod != nil && pod.DeletionTimestamp == nil && d.available(pod)
}

// fill creates what is missing. It reports whether the next step may be taken.
func (d *decision) fill() bool {
	for _, r := range d.replicas {
		i, pod, n := r.i, r.pod, r.i+d.start()
		switch {
		case pod == nil:
			if d.claimed(nil, n, true) {
				d.Create = append(d.Create, Creation{n, d.revisionFor(i)})
			}
		case control.Terminal(pod):
			d.recreate(i, pod)
		case pod.DeletionTimestamp != nil:
			if !d.ordered() {
				d.claimed(pod, n, pod.Status.Phase == corev1.PodPending)
			}
		case d.ordered() && !d.available(pod):
			if pod.Status.Phase == corev1.PodPending {
				d.claimed(pod, n, true)
			}
			d.unstick(i, pod)
		default:
			d.claimed(pod, n, pod.Status.Phase == corev1.PodPending)
			if !identified(pod, n) {
				d.Identify = append(d.Identify, pod)
			}
			continue
		}
		if d.ordered() {
			return false
		}
	}
	return true
}

// recreate deletes a pod that has ended; the next look makes another. The same again has to
// wait if it does not come to run.
func (d *decision) recreate(i int, pod *corev1.Pod) {
	if pod.DeletionTimestamp != nil {
		return
	}
	if d.Backoff != nil && revisionOf(pod) == d.revisionFor(i) {
		if wait := d.Backoff(pod.Name); wait > 0 {
			d.lookAfter(wait)
			return
		}
	}
	d.Delete, d.Ended = append(d.Delete, pod), append(d.Ended, pod)
}

// unstick deletes a pod that keeps all others waiting and has an old template: it may
// never become ready, and what is to replace it waits for it.
func (d *decision) unstick(i int, pod *corev1.Pod) {
	if d.rolls() && i >= d.partition() && revisionOf(pod) != d.Update && !runs(pod) {
		d.Delete = append(d.Delete, pod)
	}
}

// revisionFor is the one of a new pod: those below the partition are not updated.
func (d *decision) revisionFor(i int) string {
	if d.rolls() && i < d.partition() {
		return d.Current
	}
	return d.Update
}

func (d *decision) rolls() bool {
	return d.Set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType
}

func (d *decision) partition() int {
	return int(ptr.Deref(ptr.Deref(d.Set.Spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{}).Partition, 0))
}

// shrink deletes what is too much. It reports whether the next step may be taken.
func (d *decision) shrink() bool {
	for _, pod := range d.condemned {
		d.claimed(pod, ordinal(d.Set, pod), false)
	}
	for i, pod := range d.condemned {
		if pod.DeletionTimestamp == nil && !d.waits(pod, d.condemned[i+1:]) {
			d.Delete = append(d.Delete, pod)
		}
		if d.ordered() {
			return false
		}
	}
	return true
}

// waits reports whether a pod that is too many and does not serve waits for lower ones
// that do not. With an old template it may never serve.
func (d *decision) waits(pod *corev1.Pod, lower []*corev1.Pod) bool {
	if !d.ordered() || d.available(pod) || d.rolls() && revisionOf(pod) != d.Update && !runs(pod) {
		return false
	}
	return slices.ContainsFunc(lower, func(p *corev1.Pod) bool { return !d.serves(p) })
}

// update deletes pods of old templates, as many as may be unavailable. Those that serve
// nobody go in any case.
func (d *decision) update() {
	if !d.rolls() {
		return
	}
	left := d.maxUnavailable() - d.size
	for _, r := range d.replicas {
		if d.serves(r.pod) {
			left++
		}
	}
	for _, r := range slices.Backward(d.replicas) {
		i, pod := r.i, r.pod
		if i < d.partition() || pod == nil || pod.DeletionTimestamp != nil || revisionOf(pod) == d.Update || slices.Contains(d.Delete, pod) {
			continue
		}
		if d.serves(pod) {
			if left <= 0 {
				continue
			}
			left--
		}
		d.Delete = append(d.Delete, pod)
	}
}

func (d *decision) maxUnavailable() int {
	bounds := ptr.Deref(d.Set.Spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	// What cannot be read counts as 1; validation has refused it.
	n, _ := intstr.GetScaledValueFromIntOrPercent(new(ptr.Deref(bounds.MaxUnavailable, intstr.FromInt32(1))), d.size, false)
	return max(n, 1)
}

func (d *decision) tell() {
	s := appsv1.StatefulSetStatus{
		ObservedGeneration: d.Set.Generation, CurrentRevision: d.Current, UpdateRevision: d.Update,
		CollisionCount: new(ptr.Deref(d.Set.Status.CollisionCount, 0)), Conditions: d.Set.Status.Conditions,
	}
	pods := slices.Clone(d.condemned)
	for _, r := range d.replicas {
		if r.pod != nil {
			pods = append(pods, r.pod)
		}
	}
	for _, pod := range pods {
		s.Replicas++
		if runs(pod) {
			s.ReadyReplicas++
			if d.available(pod) {
				s.AvailableReplicas++
			}
		}
		if pod.DeletionTimestamp != nil || slices.Contains(d.Delete, pod) {
			continue
		}
		if revisionOf(pod) == d.Current {
			s.CurrentReplicas++
		}
		if revisionOf(pod) == d.Update {
			s.UpdatedReplicas++
		}
	}
	want := int32(d.size) //nolint:gosec // it is one of this type
	if s.UpdatedReplicas == want && s.ReadyReplicas == want && s.Replicas == want {
		s.CurrentReplicas, s.CurrentRevision = s.UpdatedReplicas, s.UpdateRevision
	}
	d.Status = s
}
