package scheduler_test

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

func labelled(app string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels = map[string]string{"app": app} }
}

func important(n int32) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.Priority = &n } }

func apart(app string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
		}}}
	}
}

func beside(app string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
		}}}
	}
}

func hosts(names ...string) []change.Change {
	var changes []change.Change
	for _, name := range names {
		list := nodeChanges(name, "4")
		changes = append(changes, list...)
		changes = append(changes, change.Patch(object.Key{GroupKind: nodeKind, Name: name}, func(obj object.Object) bool {
			obj.(*corev1.Node).Labels = map[string]string{corev1.LabelHostname: name}
			return true
		}))
	}
	return changes
}

func (r *rig) refused(name, message string) {
	r.t.Helper()
	r.eventually(name+" is refused: "+message, func() bool {
		c := r.scheduled(name)
		return c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable && c.Message == message
	})
}

func (r *rig) bound(name, node string) {
	r.t.Helper()
	r.eventually(name+" is on "+node, func() bool { return r.pod(name).Spec.NodeName == node })
}

func (r *rig) remove(name string) {
	r.t.Helper()
	r.commit(change.Delete(podKey(name), metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}, time.Now()))
}

// Pods that wait for others, or for others to go, are scheduled when these come
// and go.
func TestRulesBetweenPods(t *testing.T) {
	r := start(t, store.Options{}, hosts("a")...)
	r.commit(podChange("web", "1", labelled("web"), beside("db")))
	r.refused("web", "0/1 nodes are available: 1 node(s) didn't match pod affinity rules. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.")
	r.commit(podChange("db", "1", labelled("db")))
	r.bound("db", "a")
	r.bound("web", "a")

	r.commit(podChange("lone", "1", labelled("lone"), apart("db")))
	r.refused("lone", "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.")
	r.remove("db")
	r.bound("lone", "a")
	// What is on the node keeps others away, too.
	r.commit(podChange("db2", "1", labelled("db")))
	r.refused("db2", "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.")
	r.commit(hosts("b")...)
	r.bound("db2", "b")
}

// Pods are spread as their constraints say, and wait where these cannot be kept.
func TestSpread(t *testing.T) {
	r := start(t, store.Options{}, hosts("a", "b")...)
	spread := func(p *corev1.Pod) {
		labelled("web")(p)
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		}}
	}
	r.commit(podChange("w1", "3", spread), podChange("w2", "3", spread))
	r.eventually("one on each", func() bool {
		on := []string{r.pod("w1").Spec.NodeName, r.pod("w2").Spec.NodeName}
		slices.Sort(on)
		return slices.Equal(on, []string{"a", "b"})
	})
	r.remove("w1")
	r.remove("w2")
	r.commit(podChange("big", "4", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "b"} }))
	r.bound("big", "b")
	r.commit(podChange("w3", "1", spread))
	r.bound("w3", "a")
	r.commit(podChange("w4", "1", spread))
	r.refused("w4", "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod topology spread constraints. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.")
	r.remove("big")
	r.bound("w4", "b")
}

// A pod has less important ones leave where nothing else helps: with their
// condition, their event and their grace period, while the node is kept for it.
func TestPreemption(t *testing.T) {
	r := start(t, store.Options{}, hosts("a")...)
	r.commit(podChange("low", "3"))
	r.bound("low", "a")
	r.commit(podChange("never", "2", important(10), func(p *corev1.Pod) { p.Spec.PreemptionPolicy = new(corev1.PreemptNever) }))
	r.refused("never", "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.")
	if low := r.pod("low"); low.DeletionTimestamp != nil {
		t.Fatal("a pod with preemptionPolicy Never had another leave")
	}
	r.commit(podChange("high", "3", important(20)))
	const message = "0/1 nodes are available: 1 Insufficient cpu. preemption: found a potential placement for pod on node a, preempting 1 victims"
	r.refused("high", message)
	r.eventually("the victim leaves", func() bool {
		low := r.pod("low")
		return low != nil && low.DeletionTimestamp != nil && low.DeletionGracePeriodSeconds != nil && *low.DeletionGracePeriodSeconds == 30
	})
	i := slices.IndexFunc(r.pod("low").Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget })
	if i < 0 {
		t.Fatal("the victim has no condition DisruptionTarget")
	}
	if c := r.pod("low").Status.Conditions[i]; c.Status != corev1.ConditionTrue || c.Reason != "PreemptionByScheduler" || c.Message != "default-scheduler: preempting to accommodate a higher priority pod" {
		t.Errorf("DisruptionTarget = %+v", c)
	}
	if high := r.pod("high"); high.Status.NominatedNodeName != "a" || high.Spec.NodeName != "" {
		t.Errorf("nominated %q, on %q; want a, and no node yet", high.Status.NominatedNodeName, high.Spec.NodeName)
	}
	r.eventually("the event", func() bool {
		return slices.Contains(r.events("low"), "Normal Preempted Preempted by pod "+string(r.pod("high").UID)+" on node a")
	})
	// Who is less important does not get the room that is kept, but what is left.
	const full = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
	r.commit(podChange("thief", "2"), podChange("modest", "1"))
	r.refused("thief", full)
	r.refused("modest", full)
	r.remove("low")
	r.bound("high", "a")
	r.bound("modest", "a")
	if thief := r.pod("thief"); thief.Spec.NodeName != "" {
		t.Errorf("a less important pod got the room, on %q", thief.Spec.NodeName)
	}
	if high := r.pod("high"); high.Status.NominatedNodeName != "" {
		t.Errorf("it is bound and still nominated to %q", high.Status.NominatedNodeName)
	}
}

// A node that becomes usable is looked at again also by who fits there only once less
// important pods have left it.
func TestPreemptionOnANodeThatIsBack(t *testing.T) {
	r := start(t, store.Options{}, hosts("a")...)
	r.commit(podChange("low", "3"))
	r.bound("low", "a")
	cordon := func(yes bool) change.Change {
		return change.Patch(object.Key{GroupKind: nodeKind, Name: "a"}, func(obj object.Object) bool {
			obj.(*corev1.Node).Spec.Unschedulable = yes
			return true
		})
	}
	r.commit(cordon(true), podChange("high", "3", important(20)))
	r.refused("high", "0/1 nodes are available: 1 node(s) were unschedulable. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.")
	r.commit(cordon(false))
	r.eventually("the victim leaves", func() bool { return r.pod("low").DeletionTimestamp != nil })
	r.remove("low")
	r.bound("high", "a")
}

func budgetChanges(name, app string, allowed int32) []change.Change {
	b := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
	}
	return []change.Change{change.Create(b, time.Now()), allows(name, allowed)}
}

func allows(name string, allowed int32) change.Change {
	return change.PatchStatus(object.Key{GroupKind: budgetKind, Namespace: "default", Name: name}, func(obj object.Object) bool {
		obj.(*policyv1.PodDisruptionBudget).Status.DisruptionsAllowed = allowed
		return true
	})
}

// has is a change that puts a pod on a node.
func has(node, name, cpu string, edit ...func(*corev1.Pod)) change.Change {
	return podChange(name, cpu, append(edit, func(p *corev1.Pod) { p.Spec.NodeName = node })...)
}

// Of the nodes where others can leave, the one is taken whose budgets allow that; of
// the pods of a node, those that no budget guards. If all are guarded, one has to leave
// nevertheless.
func TestPreemptionKeepsBudgets(t *testing.T) {
	r := start(t, store.Options{}, hosts("a", "b")...)
	leaves := func(name string) bool { return r.pod(name).DeletionTimestamp != nil }
	// By importance alone it would be a's pod that leaves.
	changes := append(budgetChanges("web", "web", 0), budgetChanges("db", "db", 1)...)
	r.commit(append(changes, has("a", "web", "3", labelled("web")), has("b", "db", "3", labelled("db"), important(1)))...)
	r.commit(podChange("first", "4", important(10)))
	r.refused("first", "0/2 nodes are available: 2 Insufficient cpu. preemption: found a potential placement for pod on node b, preempting 1 victims")
	r.eventually("who is not guarded leaves", func() bool { return leaves("db") })
	if leaves("web") {
		t.Error("a pod had to leave that its budget does not allow to, and another could")
	}
	r.remove("db")
	r.bound("first", "b")
	// The budget of db has been spent; nothing has said otherwise.
	r.commit(has("a", "small", "1", important(1)))
	r.commit(podChange("second", "1", important(10)))
	r.refused("second", "0/2 nodes are available: 2 Insufficient cpu. preemption: found a potential placement for pod on node a, preempting 1 victims")
	r.eventually("who is more important, but not guarded, leaves", func() bool { return leaves("small") })
	if leaves("web") {
		t.Error("a guarded pod had to leave beside one that is not")
	}
	r.remove("small")
	r.bound("second", "a")
	// Nobody but the guarded one is in the way.
	r.commit(podChange("third", "3", important(10)))
	r.refused("third", "0/2 nodes are available: 2 Insufficient cpu. preemption: found a potential placement for pod on node a, preempting 1 victims")
	r.eventually("the guarded one leaves nevertheless", func() bool { return leaves("web") })
}

// A budget that allows one pod to leave lets two others, which come at once, have one
// of its pods leave and one that no budget guards.
func TestPreemptionsSpendBudgets(t *testing.T) {
	changes := append(hosts("a", "b", "c"), budgetChanges("web", "web", 1)...)
	changes = append(changes, has("a", "web1", "3", labelled("web")), has("b", "web2", "3", labelled("web")), has("c", "plain", "3", important(1)))
	r := start(t, store.Options{}, changes...)
	r.commit(podChange("first", "3", important(10)), podChange("second", "3", important(10)))
	leaving := func(names ...string) (n int) {
		for _, name := range names {
			if r.pod(name).DeletionTimestamp != nil {
				n++
			}
		}
		return n
	}
	r.eventually("two leave", func() bool { return leaving("web1", "web2", "plain") == 2 })
	if n := leaving("web1", "web2"); n != 1 {
		t.Errorf("%d pods had to leave under a budget of one", n)
	}
}
