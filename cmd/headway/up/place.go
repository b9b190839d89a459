package up

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/scheduler"
	"headway.dev/engine/scheduler/placement"
	"headway.dev/engine/scheduler/placement/profile"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/why"
	"headway.dev/syncer/wire"
)

// place asks the scheduler's core about pods, as things stand in the store at the first
// question.
func place(stored object.Reader, profiles profile.Profiles) func() func(*corev1.Pod) why.Placing {
	return func() func(*corev1.Pod) why.Placing {
		s := placement.NewSnapshot()
		s.Profiles, s.Volumes = profiles, scheduler.Volumes(stored)
		for _, n := range all[*corev1.Namespace](stored, "Namespace") {
			s.SetNamespace(n.Name, n.Labels)
		}
		for _, n := range all[*corev1.Node](stored, "Node") {
			s.SetNode(n)
		}
		for _, p := range all[*corev1.Pod](stored, "Pod") {
			s.SetPod(p)
			if p.Spec.NodeName == "" && p.DeletionTimestamp == nil {
				s.Nominate(p, p.Status.NominatedNodeName)
			}
		}
		kept := budgets(stored)
		return func(pod *corev1.Pod) why.Placing { return placing(pod, s, kept) }
	}
}

func placing(pod *corev1.Pod, s *placement.Snapshot, budgets []placement.Budget) (out why.Placing) {
	if bound := pod.Spec.NodeName; bound != "" {
		// The binding is no rule of the pod's own.
		free := *pod
		free.Spec.NodeName = ""
		pod = &free
	} else if node, failure := placement.Pick(pod, s, 0); failure == nil {
		out.Node = node
	} else {
		if found := placement.Preempt(pod, s, failure, budgets, 0); found != nil {
			out.Node = found.Node
		} else if failure.Waits {
			out.Node = pod.Status.NominatedNodeName
		}
		out.Message = failure.Message()
	}
	for i, h := range placement.Obstacles(pod, s) {
		n := wire.WhyNode{Node: h.Node}
		for _, o := range h.Obstacles {
			if !slices.Contains(n.Reasons, o.Reason) {
				n.Reasons = append(n.Reasons, o.Reason)
			}
			if o.Fix != "" {
				n.Fixes = append(n.Fixes, o.Fix)
			}
			if i == 0 {
				out.Fields = append(out.Fields, o.Fields...)
			}
		}
		out.Nodes = append(out.Nodes, n)
	}
	return out
}
