package daemonset

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
)

// burst bounds how many pods one transaction creates or deletes.
const burst = 250

// Input is what a decision is made from.
type Input struct {
	Set *appsv1.DaemonSet
	// Nodes are what each node is to the set.
	Nodes map[string]Verdict
	// Pods are those that the set controls.
	Pods []*corev1.Pod
	// Hash is that of today's template; Hashes are all that are.
	Hash   string
	Hashes map[string]bool
	// Backoff is how long a failed pod of a node has to be left where it is.
	Backoff func(node string) time.Duration
	Now     time.Time
}

// Plan is what to do.
type Plan struct {
	// Create are the nodes that need a pod.
	Create []string
	Delete []*corev1.Pod
	// Failed are the nodes whose failed pods are among Delete.
	Failed []string
	// Events are about pods that are among Delete.
	Events []Event
	// After is when to look again without an event (0: never).
	After time.Duration
}

// Event is told to users.
type Event struct{ Type, Reason, Message string }

type decision struct {
	Input
	Plan
	// ended are what there is to tell of pods among Delete that have ended.
	ended []end
	// on are the pods by node, those that have ended and are being deleted left out.
	on map[string][]*corev1.Pod
}

// Decide returns the next step of a set: it first sees to the nodes that have no pod, or
// one too many, and rolls if there are none.
func Decide(in Input) Plan {
	d := newDecision(in)
	d.wakeups()
	if in.Set.DeletionTimestamp != nil {
		return d.Plan
	}
	for _, node := range d.names() {
		d.manage(node)
	}
	if len(d.Create)+len(d.Delete) == 0 && in.Set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		if surge, unavailable := d.bounds(); surge > 0 {
			d.surge(surge)
		} else {
			d.roll(unavailable)
		}
	}
	d.Create, d.Delete = d.Create[:min(len(d.Create), burst)], d.Delete[:min(len(d.Delete), burst)]
	// The others are told of, and their failures counted, when their turn has come.
	for _, e := range d.ended {
		if e.at >= len(d.Delete) {
			break
		}
		d.Events = append(d.Events, e.event)
		if e.failed != "" {
			d.Failed = append(d.Failed, e.failed)
		}
	}
	return d.Plan
}

// end is what there is to tell of a pod that has ended, which is at a place of Delete;
// failed is its node, if it has failed.
type end struct {
	at     int
	event  Event
	failed string
}

// end deletes a pod that has ended.
func (d *decision) end(pod *corev1.Pod, failed string, event Event) {
	d.ended = append(d.ended, end{len(d.Delete), event, failed})
	d.Delete = append(d.Delete, pod)
}

func newDecision(in Input) *decision {
	d := &decision{Input: in, on: map[string][]*corev1.Pod{}}
	for _, pod := range in.Pods {
		if control.Terminal(pod) && pod.DeletionTimestamp != nil {
			continue
		}
		node := nodeOf(pod)
		d.on[node] = append(d.on[node], pod)
	}
	for _, pods := range d.on {
		slices.SortStableFunc(pods, older)
	}
	return d
}

// older orders pods: those on a node first, then by age.
func older(a, b *corev1.Pod) int {
	return cmp.Or(
		cmp.Compare(min(len(b.Spec.NodeName), 1), min(len(a.Spec.NodeName), 1)),
		a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
		cmp.Compare(a.Name, b.Name),
	)
}

// names are the nodes and those that pods are for.
func (d *decision) names() []string {
	all := slices.Collect(maps.Keys(d.Nodes))
	for node := range d.on {
		if _, there := d.Nodes[node]; !there {
			all = append(all, node)
		}
	}
	slices.Sort(all)
	return all
}

// wakeups are when pods become available.
func (d *decision) wakeups() {
	for _, pod := range d.Pods {
		if in := control.AvailableIn(pod, d.Set.Spec.MinReadySeconds, d.Now); in > 0 {
			d.lookAfter(in)
		}
	}
}

func (d *decision) lookAfter(in time.Duration) {
	if d.After == 0 || in < d.After {
		d.After = in
	}
}

func (d *decision) updated(pod *corev1.Pod) bool {
	return d.Hashes[pod.Labels[appsv1.ControllerRevisionHashLabelKey]]
}

func (d *decision) available(pod *corev1.Pod) bool {
	return control.AvailableIn(pod, d.Set.Spec.MinReadySeconds, d.Now) == 0
}

// manage gives a node its pod, or takes away what it must not have.
func (d *decision) manage(node string) {
	verdict, there := d.Nodes[node]
	pods := d.on[node]
	switch {
	case !there:
		// Pods on a node that is gone are the pod garbage collector's.
		for _, pod := range pods {
			if pod.DeletionTimestamp == nil && pod.Spec.NodeName == "" {
				d.Delete = append(d.Delete, pod)
			}
		}
	case verdict.Run && len(pods) == 0:
		d.Create = append(d.Create, node)
	case verdict.Stay:
		d.prune(node, pods)
	default:
		for _, pod := range pods {
			if pod.DeletionTimestamp == nil {
				d.Delete = append(d.Delete, pod)
			}
		}
	}
}

// prune deletes the pods of a node that have ended or are too many.
func (d *decision) prune(node string, pods []*corev1.Pod) {
	var running []*corev1.Pod
	for _, pod := range pods {
		switch {
		case pod.DeletionTimestamp != nil:
		case pod.Status.Phase == corev1.PodFailed:
			if wait := d.Backoff(node); wait > 0 {
				d.lookAfter(wait)
				continue
			}
			d.end(pod, node, Event{corev1.EventTypeWarning, "FailedDaemonPod", fmt.Sprintf("Found failed daemon pod %s/%s on node %s, will try to kill it", pod.Namespace, pod.Name, node)})
		case pod.Status.Phase == corev1.PodSucceeded:
			d.end(pod, "", Event{corev1.EventTypeNormal, "SucceededDaemonPod", fmt.Sprintf("Found succeeded daemon pod %s/%s on node %s, will try to delete it", pod.Namespace, pod.Name, node)})
		default:
			running = append(running, pod)
		}
	}
	if len(running) <= 1 {
		return
	}
	if surge, _ := d.bounds(); surge == 0 {
		d.Delete = append(d.Delete, running[1:]...)
		return
	}
	// Two may run while the new one is not available and the old one is ready.
	var newest, old *corev1.Pod
	for _, pod := range running {
		switch {
		case d.updated(pod) && newest == nil:
			newest = pod
		case !d.updated(pod) && old == nil:
			old = pod
		default:
			d.Delete = append(d.Delete, pod)
		}
	}
	if newest != nil && old != nil && (!control.Ready(old) || d.available(newest)) {
		d.Delete = append(d.Delete, old)
	}
}

// bounds are how many pods a rolling update may have more or fewer. If it were none at
// all, it would never end.
func (d *decision) bounds() (surge, unavailable int) {
	if d.Set.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		return 0, 0
	}
	bounds := ptr.Deref(d.Set.Spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
	wanted := d.wanted()
	// What cannot be read counts as 0; validation has refused it.
	surge, _ = intstr.GetScaledValueFromIntOrPercent(new(ptr.Deref(bounds.MaxSurge, intstr.FromInt32(0))), wanted, true)
	unavailable, _ = intstr.GetScaledValueFromIntOrPercent(new(ptr.Deref(bounds.MaxUnavailable, intstr.FromInt32(1))), wanted, true)
	if wanted > 0 && surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

// wanted is how many nodes should run a pod.
func (d *decision) wanted() int {
	n := 0
	for _, v := range d.Nodes {
		if v.Run {
			n++
		}
	}
	return n
}

// pair returns the new and the old pod of a node. ok is false if there are two of one
// sort, which the next look takes care of.
func (d *decision) pair(node string) (newest, old *corev1.Pod, ok bool) {
	for _, pod := range d.on[node] {
		switch {
		case pod.DeletionTimestamp != nil:
		case d.updated(pod):
			if newest != nil {
				return nil, nil, false
			}
			newest = pod
		default:
			if old != nil {
				return nil, nil, false
			}
			old = pod
		}
	}
	return newest, old, true
}

// rolled are the nodes that a rolling update is about: those that should have a pod, and
// those that have one.
func (d *decision) rolled() []string {
	return slices.DeleteFunc(d.names(), func(node string) bool { return !d.Nodes[node].Run && len(d.on[node]) == 0 })
}
