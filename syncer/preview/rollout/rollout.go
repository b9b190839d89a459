package rollout

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	scheduling "k8s.io/component-helpers/scheduling/corev1"

	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/wire"
)

// Rollout is what a plan does to the pods of one workload, to simulate it.
type Rollout struct {
	// Pod is what the new pods look like; Count is how many of them are wanted.
	Pod   *corev1.Pod
	Count int
	// Claims are those that Pod names and that the plan makes; Own returns those that a
	// pod has of its own, of which n others were made before it; nil: none has.
	Claims []*corev1.PersistentVolumeClaim
	Own    func(n int) []kind.PodClaim
	// Old are today's pods that leave: with Free at once, else as a rolling
	// update lets them.
	Old                []*corev1.Pod
	Free               bool
	Surge, Unavailable int
}

// Placement is what would come of a Rollout.
type Placement struct {
	// Placed is how many of the new pods get a node, Late how many of those
	// only where a pod of today has left.
	Placed, Late int
	// Stuck says that the others wait for old pods that wait for them.
	Stuck bool
	// Message is the scheduler's about the first pod that gets no node.
	Message string
	// Victims are today's pods that are preempted for them.
	Victims []Victim
}

// Victim is a pod that is preempted. Then is what comes of it, as wire.Victim has it.
type Victim struct {
	Pod  *corev1.Pod
	Then string
}

// Simulator tells what would come of rollouts. planned is the cluster as the plan leaves
// what is said of pods, which are their classes and the ranges of their amounts, and the
// volumes that there are for them.
type Simulator func(ctx context.Context, planned object.Reader, list []Rollout) []Placement

// Effect is what one action does to pods, for a person and for a simulation.
type Effect struct {
	Owner  string // Kustomization
	Report wire.Rollout
	plays  Rollout
}

// Effects are those of actions on pods. A pod that leaves is counted once,
// by the first action that makes it leave.
func Effects(owner string, actions []plan.Action, pods *Pods, gone map[types.UID]bool) []Effect {
	var list []Effect
	for _, a := range actions {
		if a.Type != plan.Create && a.Type != plan.Update && a.Type != plan.Delete {
			continue
		}
		r := Effect{Owner: owner, Report: wire.Rollout{Kind: a.Key.Kind, Namespace: a.Key.Namespace, Name: a.Key.Name}}
		old := slices.DeleteFunc(slices.Clone(pods.of(a.Live)), func(p *corev1.Pod) bool { return gone[p.UID] })
		switch {
		case a.Type == plan.Delete && a.Key.GroupKind == flux.Namespace:
			for _, p := range pods.all {
				if p.Namespace == a.Key.Name && !gone[p.UID] {
					old = append(old, p)
				}
			}
			r.remove(old)
		case a.Type == plan.Delete:
			r.remove(old)
		default:
			r.apply(a, old)
		}
		for _, p := range r.plays.Old {
			gone[p.UID] = true
		}
		if r.plays.Count > 0 || len(r.plays.Old) > 0 || r.Report.Note != "" {
			list = append(list, r)
		}
	}
	return list
}

func podNames(pods []*corev1.Pod) []string {
	names := make([]string, len(pods))
	for i, p := range pods {
		names[i] = p.Name
	}
	return names
}

// remove is the effect of a deletion.
func (r *Effect) remove(old []*corev1.Pod) {
	r.Report.Removed = podNames(old)
	r.plays = Rollout{Old: old, Free: true}
}

// apply is the effect of a creation or an update.
func (r *Effect) apply(a plan.Action, old []*corev1.Pod) {
	k, ok := scheme.ForKind(a.Key.GroupKind)
	if !ok || k.Rollout == nil || a.Object == nil {
		return
	}
	meta, spec := k.PodTemplate(a.Object)
	pod, want := podOf(a.Object, meta, spec), k.Rollout(a.Object, kind.Edit{Paths: a.FieldPaths(), Pods: len(old)})
	if r.plays.Own = want.Claims; a.Recreate {
		r.start(pod, want.Pods)
		r.replace(old)
		return
	}
	r.Report.Note = want.Note
	switch {
	case a.Live != nil && want.InPlace:
	case want.Strategy == "":
		r.scale(pod, want.Pods, old)
	default:
		r.Report.Strategy = want.Strategy
		r.start(pod, want.Pods)
		r.replace(old)
		r.plays.Free = want.AtOnce
		r.plays.Surge, r.plays.Unavailable = want.Surge, want.Unavailable
		r.Report.MaxSurge, r.Report.MaxUnavailable = want.Surge, want.Unavailable
	}
}

func (r *Effect) start(pod *corev1.Pod, n int) {
	r.Report.New, r.plays.Pod, r.plays.Count = n, pod, n
}

// replace makes the old pods leave at once.
func (r *Effect) replace(old []*corev1.Pod) {
	r.Report.Replaced = podNames(old)
	r.plays.Old, r.plays.Free = old, true
}

// scale keeps old pods, and adds or removes what is missing or too many.
func (r *Effect) scale(pod *corev1.Pod, replicas int, old []*corev1.Pod) {
	switch {
	case replicas > len(old):
		r.start(pod, replicas-len(old))
		if own := r.plays.Own; own != nil {
			r.plays.Own = func(n int) []kind.PodClaim { return own(len(old) + n) }
		}
	case replicas == 0 && len(old) > 0:
		r.remove(old)
	case replicas < len(old):
		r.Report.Fewer = len(old) - replicas
		// Roughly the controller's choice: who has no node yet, then the young.
		leave := slices.Clone(old)
		slices.SortStableFunc(leave, func(a, b *corev1.Pod) int {
			return cmp.Or(cmp.Compare(min(len(a.Spec.NodeName), 1), min(len(b.Spec.NodeName), 1)), b.CreationTimestamp.Compare(a.CreationTimestamp.Time))
		})
		r.plays = Rollout{Old: leave[:r.Report.Fewer], Free: true}
	}
}

// podOf is a pod as the controller of owner makes it of a template.
func podOf(owner object.Object, meta *metav1.ObjectMeta, spec *corev1.PodSpec) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: *meta.DeepCopy(), Spec: *spec.DeepCopy()}
	pod.Namespace, pod.Name = owner.GetNamespace(), owner.GetName()
	pod.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	defaults.Apply(pod)
	return pod
}

// mostAsked bounds how many pods of one workload admission is asked about.
const mostAsked = 200

// Admit adds to the effects how many of their new pods admit refuses, which is asked about
// as many as there will be more than today: what takes the place of another may use what
// that used. Pods that a plan declares itself are not asked about again.
func Admit(list []Effect, admit func(*corev1.Pod) error) {
	for i := range list {
		r := &list[i]
		more := r.plays.Count - len(r.plays.Old)
		if more < r.plays.Surge && !r.plays.Free {
			more = min(r.plays.Surge, r.plays.Count)
		}
		if r.plays.Pod == nil || r.Report.Kind == podKind.Kind {
			continue
		}
		for n := range min(more, mostAsked) {
			pod := r.plays.Pod.DeepCopy()
			pod.Name = fmt.Sprint(pod.Name, "-", n)
			if err := admit(pod); err != nil {
				r.Report.Refused, r.Report.Refusal = more-n, err.Error()
				break
			}
		}
	}
}

// maxVictims bounds how many pods that would be preempted are named for one workload.
const maxVictims = 100

// Claims are those that a plan makes.
func Claims(actions []plan.Action) []*corev1.PersistentVolumeClaim {
	var claims []*corev1.PersistentVolumeClaim
	for _, a := range actions {
		if c, ok := a.Object.(*corev1.PersistentVolumeClaim); ok && a.Type == plan.Create {
			claims = append(claims, c)
		}
	}
	return claims
}

// claimed are those of some claims that a pod names.
func claimed(pod *corev1.Pod, claims []*corev1.PersistentVolumeClaim) (own []*corev1.PersistentVolumeClaim) {
	if pod == nil || len(claims) == 0 {
		return nil
	}
	podspec.Claims(pod, func(name string) {
		for _, c := range claims {
			if c.Namespace == pod.Namespace && c.Name == name {
				own = append(own, c)
			}
		}
	})
	return own
}

// Simulate adds to the effects where their new pods would run, as sim tells, beside the
// claims that the plan makes; nil: nobody knows. sees reports whether an object may be
// spoken of.
func Simulate(list []Effect, claims []*corev1.PersistentVolumeClaim, sim func([]Rollout) []Placement, sees func(object.Key) bool) {
	if sim == nil {
		return
	}
	plays := make([]Rollout, len(list))
	for i, r := range list {
		plays[i] = r.plays
		plays[i].Claims = claimed(r.plays.Pod, claims)
	}
	for i, p := range sim(plays) {
		report := &list[i].Report
		if report.New == 0 {
			continue
		}
		report.Pending, report.Late, report.Message = report.New-p.Placed, p.Late, p.Message
		for _, v := range p.Victims {
			if len(report.Preempts) == maxVictims || !sees(object.KeyOf(podKind, v.Pod)) {
				report.PreemptsMore++
				continue
			}
			report.Preempts = append(report.Preempts, wire.Victim{
				Namespace: v.Pod.Namespace, Name: v.Pod.Name, Priority: scheduling.PodPriority(v.Pod), Then: v.Then,
			})
		}
		switch {
		case report.Pending > 0 && p.Stuck:
			report.Schedule = wire.ScheduleStuck
		case report.Pending > 0:
			report.Schedule = wire.ScheduleUnschedulable
		case len(p.Victims) > 0:
			report.Schedule = wire.SchedulePreempts
		case report.Late > 0:
			report.Schedule = wire.ScheduleFitsLate
		default:
			report.Schedule = wire.ScheduleFits
		}
	}
}
