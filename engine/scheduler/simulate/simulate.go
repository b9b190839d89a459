// Package simulate plays through what a change would do to the pods of workloads, and
// tells which of the new ones would get a node.
package simulate

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	scheduling "k8s.io/component-helpers/scheduling/corev1"

	"headway.dev/engine/scheduler/placement"
	"headway.dev/engine/scheduler/placement/profile"
	"headway.dev/engine/scheduler/volumes"
	"headway.dev/manifests/model/kind"
)

// Rollout is what a change does to the pods of one workload.
type Rollout struct {
	// Pod is the template of the new pods; Count is how many of them are
	// wanted.
	Pod   *corev1.Pod
	Count int
	// Claims are those of Pod that are not stored yet, and will be; Own returns those
	// that a pod has of its own, of which n others were made before it; nil: none has.
	Claims []*corev1.PersistentVolumeClaim
	Own    func(n int) []kind.PodClaim
	// Old are today's pods that leave. With Free they leave without waiting for
	// new ones (a deletion, fewer replicas, the strategy Recreate). Otherwise
	// they leave as a rolling update allows: there are never more pods than
	// Count plus Surge, and never fewer with a node than Count minus
	// Unavailable.
	Old                []*corev1.Pod
	Free               bool
	Surge, Unavailable int
}

// Outcome is the expected result of a Rollout.
type Outcome struct {
	// Placed is the number of new pods that get a node, and Late the number of
	// those that find room only after a pod of today has left.
	Placed, Late int
	// Stuck reports whether the other pods would fit if the old ones were gone,
	// which the rolling update does not allow before the new ones run.
	Stuck bool
	// Message is the scheduler's about the first pod that gets no node.
	Message string
	// Victims are today's pods that have to leave for the new ones, and for those that
	// have to leave for these.
	Victims []Victim
}

// simulation plays rollouts through.
type simulation struct {
	now     *placement.Snapshot // as it changes
	before  *placement.Snapshot // today's, and the new pods that fit beside its own
	pending []*corev1.Pod
	budgets []placement.Budget
	// owners are the rollouts of pods, old and new; remade are the pods that take the
	// place of preempted ones, and again are those of them that have no node.
	owners map[types.UID]*rolling
	remade map[types.UID]*remade
	again  []*remade
}

// rolling is a Rollout on its way.
type rolling struct {
	Rollout
	Outcome
	old    []*corev1.Pod // that have a node and have not left
	serial int
	made   int // new pods, those included that were preempted
}

// Run returns, for each rollout, whether its pods would get nodes, beside
// the pods that exist, if every new pod becomes ready. All rollouts happen
// together, those of a higher priority first; pods that already wait for a node
// are served before new ones, and preempt nobody: they would have before. What is
// preempted and has a controller is made again, and looks for a node after all new
// pods. budgets are kept to if that is possible.
//
// known are today's claims and volumes. Those of claims that wait for their first pod are
// expected to come where it is. profiles say which pods are scheduled, and how.
func Run(profiles profile.Profiles, known *volumes.State, namespaces []*corev1.Namespace, nodes []*corev1.Node, pods []*corev1.Pod, budgets []placement.Budget, rollouts []Rollout) []Outcome {
	s := &simulation{
		now: placement.NewSnapshot(), before: placement.NewSnapshot(), budgets: slices.Clone(budgets),
		owners: map[types.UID]*rolling{}, remade: map[types.UID]*remade{},
	}
	for _, of := range []*placement.Snapshot{s.now, s.before} {
		of.Profiles, of.Volumes = profiles, known.Clone()
		for _, r := range rollouts {
			for _, c := range r.Claims {
				of.Volumes.Expect(c)
			}
		}
		for _, n := range namespaces {
			of.SetNamespace(n.Name, n.Labels)
		}
		for _, n := range nodes {
			of.SetNode(n)
		}
	}
	all := make([]*rolling, len(rollouts))
	for i, r := range rollouts {
		all[i] = &rolling{Rollout: r, serial: i}
		for _, p := range r.Old {
			s.owners[p.UID] = all[i]
			if p.Spec.NodeName != "" && !r.Free {
				all[i].old = append(all[i].old, p)
			}
		}
	}
	for _, p := range pods {
		r := s.owners[p.UID]
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		switch {
		case p.Spec.NodeName != "":
			s.before.SetPod(p)
			if r == nil || !r.Free {
				s.now.SetPod(p)
			}
		case !ended && p.DeletionTimestamp == nil && r == nil && len(p.Spec.SchedulingGates) == 0 && profiles.Serves(p.Spec.SchedulerName):
			s.pending = append(s.pending, p)
		}
	}
	order := slices.Clone(all)
	slices.SortStableFunc(order, func(a, b *rolling) int { return cmp.Compare(priority(b.Pod), priority(a.Pod)) })
	for s.step(order) {
	}
	s.judge(order)
	for _, a := range s.again {
		a.victim().Then = Waits
	}
	out := make([]Outcome, len(all))
	for i, r := range all {
		r.Late = min(r.Late, r.Placed) // some may have been preempted
		out[i] = r.Outcome
	}
	return out
}

func priority(pod *corev1.Pod) int32 {
	if pod == nil {
		return 0
	}
	return scheduling.PodPriority(pod)
}

// step takes every rollout as far as it goes, and reports whether any moved.
func (s *simulation) step(order []*rolling) bool {
	moved := false
	s.pending = slices.DeleteFunc(s.pending, func(p *corev1.Pod) bool {
		node, failure := placement.Pick(p, s.now, 0)
		if failure != nil {
			return false
		}
		assume(s.now, p, node)
		if _, failure := placement.Pick(p, s.before, 0); failure == nil {
			assume(s.before, p, node)
		}
		moved = true
		return true
	})
	for _, r := range order {
		for r.Placed < r.Count && (r.Free || len(r.old)+r.Placed < r.Count+r.Surge) && s.place(r) {
			moved = true
		}
		for len(r.old) > 0 && len(r.old)+r.Placed > r.Count-r.Unavailable {
			s.now.RemovePod(r.old[0].UID)
			r.old = r.old[1:]
			moved = true
		}
	}
	return s.settle() || moved
}

// place gives the next new pod a node, or notes why there is none.
func (s *simulation) place(r *rolling) bool {
	if len(r.Pod.Spec.SchedulingGates) > 0 {
		r.Message = "Scheduling is blocked due to non-empty scheduling gates"
		return false
	}
	if name := r.Pod.Spec.SchedulerName; !s.now.Profiles.Serves(name) {
		r.Message = fmt.Sprintf("no profile of the scheduler has the name %q of spec.schedulerName", name)
		return false
	}
	pod := s.next(r, r.Placed)
	node, failure := placement.Pick(pod, s.now, 0)
	switch {
	case failure == nil:
		assume(s.now, pod, node)
		if beside, failure := placement.Pick(pod, s.before, 0); failure == nil {
			assume(s.before, pod, beside)
		} else {
			r.Late++
		}
	case s.preempt(pod, failure, r):
		r.Late++
	default:
		r.Message = failure.Message()
		return false
	}
	s.owners[pod.UID] = r
	r.made++
	r.Placed++
	r.Message = ""
	return true
}

// judge tells of the pods without a node whether only old pods are in their
// way.
func (s *simulation) judge(order []*rolling) {
	for _, r := range order {
		for _, p := range r.old {
			s.now.RemovePod(p.UID)
		}
	}
	for _, r := range order {
		if r.Placed == r.Count || len(r.old) == 0 || !s.now.Profiles.Serves(r.Pod.Spec.SchedulerName) {
			continue
		}
		r.Stuck = true
		for n := r.Placed; n < r.Count && r.Stuck; n++ {
			pod := s.next(r, n)
			node, failure := placement.Pick(pod, s.now, 0)
			if failure != nil {
				placement.Preempt(pod, s.now, failure, s.budgets, 0)
				r.Stuck, r.Message = false, failure.Message()
				break
			}
			assume(s.now, pod, node)
		}
	}
}

// assume gives a pod a node, and has its claims bound there.
func assume(s *placement.Snapshot, pod *corev1.Pod, node string) {
	s.Volumes.Assume(placement.VolumesOn(pod, s, node), node)
	s.Assume(pod, node)
}

// next is the new pod after n others. Its owner makes it keep away from its siblings.
func (s *simulation) next(r *rolling, n int) *corev1.Pod {
	pod := *r.Pod
	owner := types.UID(fmt.Sprint("simulated/", r.serial))
	pod.UID = types.UID(fmt.Sprint(owner, "/", r.made+n-r.Placed))
	controller := true
	pod.OwnerReferences = []metav1.OwnerReference{{UID: owner, Controller: &controller}}
	pod.Spec.Volumes = slices.Clone(pod.Spec.Volumes)
	for i := range pod.Spec.Volumes {
		// Claims that are made for a pod have its name, which is not known yet.
		if v := &pod.Spec.Volumes[i]; v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
			claim := &corev1.PersistentVolumeClaim{Spec: v.Ephemeral.VolumeClaimTemplate.Spec}
			claim.Namespace, claim.Name = pod.Namespace, fmt.Sprint(pod.UID, "/", v.Name)
			v.VolumeSource = s.expect(claim)
		}
	}
	if r.Own != nil {
		for _, c := range r.Own(n) {
			pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: c.Volume, VolumeSource: s.expect(c.Claim)})
		}
	}
	return &pod
}

// expect adds a claim that will be made, and is the volume that has it.
func (s *simulation) expect(claim *corev1.PersistentVolumeClaim) corev1.VolumeSource {
	s.now.Volumes.Expect(claim)
	s.before.Volumes.Expect(claim)
	return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name}}
}
