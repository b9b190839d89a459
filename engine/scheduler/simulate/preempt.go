package simulate

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/engine/scheduler/placement"
)

// Victim is a pod of today that is preempted, and what comes of it.
type Victim struct {
	Pod  *corev1.Pod
	Then Fate
}

// Fate is what comes of a pod that is preempted.
type Fate string

// The fates of pods.
const (
	// Moves: its controller makes it again, and there is room for it.
	Moves Fate = "Moves"
	// Waits: its controller makes it again, and it stays pending.
	Waits Fate = "Pending"
	// Ends: nobody makes it again.
	Ends Fate = "Ends"
)

// remade is a pod that a controller makes in the place of one that was preempted, for
// the sake of a rollout.
type remade struct {
	pod   *corev1.Pod
	cause *rolling
	at    int // of the victim among those of the cause
}

func (a *remade) victim() *Victim { return &a.cause.Victims[a.at] }

// preempt gives a pod of a rollout, or one that was made again because of it, the node
// of less important ones; f then says why it does not.
func (s *simulation) preempt(pod *corev1.Pod, f *placement.Failure, cause *rolling) bool {
	found := placement.Preempt(pod, s.now, f, s.budgets, 0)
	if found == nil || len(found.Victims) == 0 {
		return false // or it waits for those who are leaving already
	}
	for _, v := range found.Victims {
		s.spend(v)
		s.now.RemovePod(v.UID)
		s.before.RemovePod(v.UID)
		s.leave(v, cause)
	}
	assume(s.now, pod, found.Node)
	assume(s.before, pod, found.Node)
	return true
}

// leave tells what comes of a pod that is preempted.
func (s *simulation) leave(pod *corev1.Pod, cause *rolling) {
	if a := s.remade[pod.UID]; a != nil {
		s.again = append(s.again, a)
		return
	}
	if own := s.owners[pod.UID]; own != nil {
		// Its rollout makes what takes its place: of an old one it does so anyway.
		if i := slices.IndexFunc(own.old, func(p *corev1.Pod) bool { return p.UID == pod.UID }); i >= 0 {
			own.old = slices.Delete(slices.Clone(own.old), i, i+1)
		} else {
			own.Placed--
		}
		return
	}
	victim := Victim{Pod: pod, Then: Ends}
	if metav1.GetControllerOfNoCopy(pod) != nil {
		next := *pod
		next.UID = types.UID("remade/" + string(pod.UID))
		next.Status, next.Spec.NodeName = corev1.PodStatus{}, ""
		a := &remade{pod: &next, cause: cause, at: len(cause.Victims)}
		s.remade[next.UID] = a
		s.again = append(s.again, a)
		victim.Then = Moves
	}
	cause.Victims = append(cause.Victims, victim)
}

// settle gives nodes to those that were made again, and reports whether any got one.
func (s *simulation) settle() bool {
	moved := false
	for i := 0; i < len(s.again); i++ {
		a := s.again[i]
		node, failure := placement.Pick(a.pod, s.now, 0)
		switch {
		case failure == nil:
			assume(s.now, a.pod, node)
			assume(s.before, a.pod, node)
		case !s.preempt(a.pod, failure, a.cause):
			continue
		}
		s.again = slices.Delete(s.again, i, i+1)
		i--
		moved = true
	}
	return moved
}

// spend takes a pod that has to leave from the budgets, as the scheduler does.
func (s *simulation) spend(pod *corev1.Pod) {
	for i := range s.budgets {
		b := &s.budgets[i]
		if !b.Guards(pod) {
			continue
		}
		gone := maps.Clone(b.Disrupted)
		if gone == nil {
			gone = map[string]metav1.Time{}
		}
		gone[pod.Name] = metav1.Time{}
		b.Allowed, b.Disrupted = max(0, b.Allowed-1), gone
	}
}
