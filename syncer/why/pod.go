package why

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/health"
	"headway.dev/syncer/wire"
)

// found is a reason with the fields of the pod that it is about.
type found struct {
	wire.WhyReason
	fields []string
}

// Placing is what the scheduler says about a pod.
type Placing struct {
	// Node is where it would go now, if there is room or there will be.
	Node string
	// Message is the scheduler's if there is no room.
	Message string
	// Nodes are in the order of how near they are; Fields are those of the pod that
	// the nearest is about.
	Nodes  []wire.WhyNode
	Fields []string
}

// facts are what is known of a pod besides itself. What the caller may not read is nil.
type facts struct {
	place  func() Placing
	node   *corev1.Node
	events []*corev1.Event // about the pod, the oldest first
	// budgets are the names of the budgets that do not let it be evicted.
	budgets []string
	// schedulers are the names that Headway's scheduler serves; nil: the default one.
	schedulers []string
}

// stateOf is the state of a pod, in one sentence.
func stateOf(p *corev1.Pod) (wire.WhyState, string) {
	switch {
	case p.DeletionTimestamp != nil:
		return wire.WhyTerminating, "it has been deleted and is ending"
	case p.Status.Phase == corev1.PodSucceeded:
		return wire.WhyCompleted, "all its containers have ended well"
	case p.Status.Phase == corev1.PodFailed:
		return wire.WhyFailed, "it has ended, and not well"
	case p.Spec.NodeName == "":
		return wire.WhyWaiting, "it has no node"
	case ready(p):
		return wire.WhyRunning, "it runs on " + p.Spec.NodeName + " and is ready"
	case p.Status.Phase == corev1.PodRunning:
		return wire.WhyWaiting, "it is on " + p.Spec.NodeName + " and is not ready"
	}
	return wire.WhyWaiting, "it is on " + p.Spec.NodeName + " and does not run yet"
}

func ready(p *corev1.Pod) bool {
	c := health.PodCondition(p, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// ofPod are the reasons, the gravest first. There is one at least.
func ofPod(p *corev1.Pod, f facts) []found {
	var list []found
	if p.DeletionTimestamp != nil {
		list = append(list, ending(p))
	}
	switch {
	case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
		return append(list, ended(p)...)
	case p.Spec.NodeName == "":
		return append(list, unplaced(p, f))
	}
	if f.node != nil {
		list = append(list, ofNode(p, f)...)
	}
	containers := ofContainers(p)
	list = append(list, containers...)
	if !ready(p) {
		list = append(list, fromEvents(p, f.events, len(containers) == 0)...)
		list = append(list, ofGates(p)...)
	}
	if len(list) == 0 && !ready(p) {
		list = append(list, found{WhyReason: wire.WhyReason{Reason: "ContainerCreating", Message: "its node is preparing it"}})
	}
	return append(list, placed(p, f))
}

func ending(p *corev1.Pod) found {
	r := wire.WhyReason{Reason: "Terminating", Time: p.DeletionTimestamp.Time, Message: fmt.Sprintf("it has been deleted, and its containers have until %s to end", p.DeletionTimestamp.UTC().Format(time.RFC3339))}
	if len(p.Finalizers) > 0 {
		r.Message += "; it stays until nobody waits for it any more: " + strings.Join(p.Finalizers, ", ")
		r.Fixes = []string{"whoever set the finalizers " + strings.Join(p.Finalizers, ", ") + " removes them when done"}
	}
	return found{WhyReason: r}
}

// ended is how a pod ended.
func ended(p *corev1.Pod) []found {
	if p.Status.Phase == corev1.PodSucceeded {
		return []found{{WhyReason: wire.WhyReason{Reason: "Completed", Message: "all its containers have ended with exit code 0"}}}
	}
	list := ofContainers(p)
	if p.Status.Reason != "" || len(list) == 0 {
		list = slices.Insert(list, 0, found{WhyReason: wire.WhyReason{Reason: cmp.Or(p.Status.Reason, "Failed"), Message: cmp.Or(p.Status.Message, "it has ended, and not well")}})
	}
	return list
}

// unplaced is why a pod has no node.
func unplaced(p *corev1.Pod, f facts) found {
	if len(p.Spec.SchedulingGates) > 0 {
		names := make([]string, len(p.Spec.SchedulingGates))
		for i, g := range p.Spec.SchedulingGates {
			names[i] = g.Name
		}
		all := strings.Join(names, ", ")
		return found{wire.WhyReason{
			Reason: corev1.PodReasonSchedulingGated, Message: "Scheduling is blocked due to non-empty scheduling gates: " + all,
			Fixes: []string{"whoever set the gates " + all + " removes them from spec.schedulingGates of the pod when it may run"},
		}, []string{"spec.schedulingGates"}}
	}
	served := f.schedulers
	if len(served) == 0 {
		served = []string{corev1.DefaultSchedulerName}
	}
	if name := cmp.Or(p.Spec.SchedulerName, corev1.DefaultSchedulerName); !slices.Contains(served, name) {
		return found{wire.WhyReason{
			Reason: "OtherScheduler", Message: fmt.Sprintf("spec.schedulerName is %q: Headway's scheduler has no profile of that name, and leaves the pod to that one", name),
			Fixes: []string{fmt.Sprintf("run the scheduler %s, start Headway with a profile of that name (--scheduler-config), or set spec.schedulerName to %s", name, strings.Join(served, " or "))},
		}, []string{"spec.schedulerName"}}
	}
	r := found{WhyReason: wire.WhyReason{Reason: corev1.PodReasonUnschedulable, Message: "the scheduler has not looked at it yet"}}
	if c := health.PodCondition(p, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse {
		r.Reason, r.Message, r.Time = c.Reason, c.Message, c.LastTransitionTime.Time
	}
	if f.place == nil {
		r.NodesHidden = true
		return r
	}
	now := f.place()
	r.Nodes, r.fields = now.Nodes, now.Fields
	if now.Message != "" {
		r.Message = now.Message
	}
	switch {
	case now.Node != "" && now.Message == "":
		r.Message = "there is room on " + now.Node + ", and it is about to get it"
	case now.Node != "":
		r.Fixes = []string{"wait until less important pods have left " + now.Node}
	default:
		r.Fixes = nearest(now.Nodes)
	}
	return r
}

// nearest are the fixes of the nodes that are the nearest.
func nearest(nodes []wire.WhyNode) []string {
	const most = 3
	var list []string
	for _, n := range nodes {
		if len(n.Fixes) == 0 {
			continue
		}
		if text := strings.Join(n.Fixes, "; "); !slices.Contains(list, text) {
			list = append(list, text)
		}
		if len(list) == most {
			break
		}
	}
	if len(nodes) == 0 {
		list = append(list, "add a node")
	}
	return list
}

// ofNode is what the node of a pod has to do with it.
func ofNode(p *corev1.Pod, f facts) (list []found) {
	for _, c := range f.node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			list = append(list, found{WhyReason: wire.WhyReason{
				Reason: "NodeNotReady", Message: fmt.Sprintf("node %s is not ready: %s", f.node.Name, c.Message), Object: "Node/" + f.node.Name, Time: c.LastTransitionTime.Time,
				Fixes: []string{"see that the agent of " + f.node.Name + " runs and reaches the server"},
			}})
		}
	}
	if f.node.Spec.Unschedulable && len(f.budgets) > 0 && !p.Spec.HostNetwork {
		for _, name := range f.budgets {
			list = append(list, found{WhyReason: wire.WhyReason{
				Reason: "DisruptionBudget", Message: "PDB " + name + " allows no eviction, so that draining " + f.node.Name + " waits", Object: "PodDisruptionBudget/" + name,
				Fixes: []string{"run more pods than PodDisruptionBudget " + name + " asks for, or have it ask for less"},
			}})
		}
	}
	return list
}

// fromEvents is what only events tell: that volumes or the sandbox cannot be made, and
// what a probe got. alone reports that nothing else is known.
func fromEvents(p *corev1.Pod, events []*corev1.Event, alone bool) []found {
	for _, e := range slices.Backward(events) {
		r := found{WhyReason: wire.WhyReason{Reason: e.Reason, Message: e.Message, Time: firstTime(e)}}
		switch {
		case e.Reason == "Unhealthy" && e.Type == corev1.EventTypeWarning:
		case !alone || p.Status.Phase != corev1.PodPending || e.Type != corev1.EventTypeWarning || e.Reason == "FailedScheduling":
			continue // FailedScheduling is from before
		case e.Reason == "FailedCreatePodSandBox" && p.Spec.RuntimeClassName != nil:
			r.Fixes = []string{fmt.Sprintf("start Headway on %s with --runtime-handler for the handler of RuntimeClass %s, or change spec.runtimeClassName", p.Spec.NodeName, *p.Spec.RuntimeClassName)}
			r.fields = []string{"spec.runtimeClassName"}
		case e.Reason == "FailedMount":
			r.Fixes, r.fields = []string{"create what the volume refers to, or correct spec.volumes"}, []string{"spec.volumes"}
		}
		return []found{r}
	}
	return nil
}

func firstTime(e *corev1.Event) time.Time {
	if !e.FirstTimestamp.IsZero() {
		return e.FirstTimestamp.Time
	}
	return e.CreationTimestamp.Time
}

// ofGates are the conditions that a pod waits for besides its containers.
func ofGates(p *corev1.Pod) (list []found) {
	for _, g := range p.Spec.ReadinessGates {
		if c := health.PodCondition(p, g.ConditionType); c == nil || c.Status != corev1.ConditionTrue {
			list = append(list, found{wire.WhyReason{
				Reason: "ReadinessGatesNotReady", Message: fmt.Sprintf("the condition %s of its readiness gates is not True", g.ConditionType),
				Fixes: []string{fmt.Sprintf("whoever sets the condition %s has to; or remove it from spec.readinessGates", g.ConditionType)},
			}, []string{"spec.readinessGates"}})
		}
	}
	return list
}

// placed is why a pod is where it is.
func placed(p *corev1.Pod, f facts) found {
	r := found{WhyReason: wire.WhyReason{Reason: "Scheduled", Message: "it has been bound to " + p.Spec.NodeName}}
	if c := health.PodCondition(p, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionTrue {
		r.Time = c.LastTransitionTime.Time
	}
	if ref := metav1.GetControllerOfNoCopy(p); ref != nil && ref.Kind == "Node" {
		r.Message = "it is a mirror of a file on " + p.Spec.NodeName
	}
	if f.place == nil {
		r.NodesHidden = true
		return r
	}
	now := f.place()
	r.Nodes = now.Nodes
	fits, here := 0, false
	for _, n := range now.Nodes {
		if len(n.Reasons) == 0 {
			fits++
			here = here || n.Node == p.Spec.NodeName
		}
	}
	switch {
	case fits == 1 && here:
		r.Message += fmt.Sprintf(": of %s, it is the only one that would take it", wire.Plural(len(now.Nodes), "node"))
	case here:
		r.Message += fmt.Sprintf(", one of %d of %s that would take it; the scheduler took the one with the best score, which it does not look at again", fits, wire.Plural(len(now.Nodes), "node"))
	default:
		r.Message += ", which would not take it today; nothing moves a pod that runs"
	}
	return r
}
