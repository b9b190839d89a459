package simulate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/engine/scheduler/placement"
	"headway.dev/engine/scheduler/simulate"
)

func node(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
		"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("5"),
	}}}
}

func pod(name string, edit ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}},
	}
	for _, e := range edit {
		e(p)
	}
	return p
}

func cpu(n string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse(n), "memory": resource.MustParse("1Mi")}
	}
}

func on(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

// several makes n pods like one another on a node (or on none).
func several(n int, name, where string, edit ...func(*corev1.Pod)) []*corev1.Pod {
	var list []*corev1.Pod
	for i := range n {
		list = append(list, pod(fmt.Sprintf("%s-%d", name, i), append(edit, on(where))...))
	}
	return list
}

// A rollout is judged by what its strategy lets it do on today's nodes, each of
// which has 4 CPUs.
func TestRun(t *testing.T) {
	const full = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
	const never = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
	const no = "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
	one := []*corev1.Node{node("a")}
	old2 := several(2, "old", "a", cpu("1500m"))
	old1 := several(1, "old", "a", cpu("3"))
	other := several(1, "other", "a", cpu("3"))
	waiting := several(1, "waiting", "", cpu("2"))
	urgent := func(p *corev1.Pod) { p.Spec.Priority = new(int32(1000)) }
	polite := func(p *corev1.Pod) { p.Spec.PreemptionPolicy = new(corev1.PreemptNever) }
	others := func(p *corev1.Pod) { p.Spec.SchedulerName = "other" }
	gated := func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "x"}} }
	leaving := func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()) }
	type R = simulate.Rollout
	type O = simulate.Outcome
	for name, tc := range map[string]struct {
		nodes    []*corev1.Node
		pods     []*corev1.Pod
		rollouts []R
		want     []O
	}{
		"new pods in free room":            {one, nil, []R{{Pod: pod("p", cpu("2")), Count: 2}}, []O{{Placed: 2}}},
		"one pod too many":                 {one, nil, []R{{Pod: pod("p", cpu("2")), Count: 3}}, []O{{Placed: 2, Message: full}}},
		"more than any node has":           {one, nil, []R{{Pod: pod("p", cpu("5")), Count: 1}}, []O{{Message: never}}},
		"no nodes":                         {nil, nil, []R{{Pod: pod("p"), Count: 1}}, []O{{Message: "no nodes available to schedule pods"}}},
		"surge has room":                   {one, old2, []R{{Pod: pod("p", cpu("500m")), Count: 2, Old: old2, Surge: 1}}, []O{{Placed: 2}}},
		"one after the other":              {one, old2, []R{{Pod: pod("p", cpu("1")), Count: 2, Old: old2, Surge: 1}}, []O{{Placed: 2, Late: 1}}},
		"room only where an old one stops": {one, old2, []R{{Pod: pod("p", cpu("1500m")), Count: 2, Old: old2, Surge: 1, Unavailable: 1}}, []O{{Placed: 2, Late: 2}}},
		"the old one must not stop":        {one, old1, []R{{Pod: pod("p", cpu("3")), Count: 1, Old: old1, Surge: 1}}, []O{{Stuck: true, Message: full}}},
		"too large also without the old":   {one, old1, []R{{Pod: pod("p", cpu("5")), Count: 1, Old: old1, Surge: 1}}, []O{{Message: never}}},
		"Recreate stops the old first":     {one, old1, []R{{Pod: pod("p", cpu("3")), Count: 1, Old: old1, Free: true}}, []O{{Placed: 1, Late: 1}}},
		"a deletion makes room":            {one, old1, []R{{Pod: pod("p", cpu("3")), Count: 1}, {Old: old1, Free: true}}, []O{{Placed: 1, Late: 1}, {}}},
		"nothing makes room":               {one, other, []R{{Pod: pod("p", cpu("3")), Count: 1}}, []O{{Message: full}}},
		"who waits already comes first":    {one, waiting, []R{{Pod: pod("p", cpu("3")), Count: 1}}, []O{{Message: full}}},
		"who waits is replaced":            {one, waiting, []R{{Pod: pod("p", cpu("3")), Count: 1, Old: waiting, Surge: 1}}, []O{{Placed: 1}}},
		"who waits and is deleted":         {one, several(1, "w", "", cpu("2"), leaving), []R{{Pod: pod("p", cpu("3")), Count: 1}}, []O{{Placed: 1}}},
		"the urgent one gets the room":     {one, nil, []R{{Pod: pod("p", cpu("3")), Count: 1}, {Pod: pod("q", cpu("3"), urgent), Count: 1}}, []O{{Message: full}, {Placed: 1}}},
		"others would have to leave":       {one, other, []R{{Pod: pod("p", cpu("3"), urgent), Count: 1}}, []O{{Placed: 1, Late: 1, Victims: []simulate.Victim{{Pod: other[0], Then: simulate.Ends}}}}},
		"who would preempt does not":       {one, other, []R{{Pod: pod("p", cpu("3"), urgent, polite), Count: 1}}, []O{{Message: no}}},
		"gated":                            {one, nil, []R{{Pod: pod("p", gated), Count: 1}}, []O{{Message: "Scheduling is blocked due to non-empty scheduling gates"}}},
		"scaled up while updated":          {one, old2, []R{{Pod: pod("p", cpu("500m")), Count: 4, Old: old2, Surge: 1, Unavailable: 1}}, []O{{Placed: 4, Late: 2}}},
		"another scheduler":                {one, several(1, "w", "", cpu("4"), others), []R{{Pod: pod("p", cpu("2"), others), Count: 1}, {Pod: pod("q", cpu("4")), Count: 1}}, []O{{Message: `no profile of the scheduler has the name "other" of spec.schedulerName`}, {Placed: 1}}},
		"a billion replicas":               {one, nil, []R{{Pod: pod("p", cpu("1m")), Count: 1e9}}, []O{{Placed: 5, Message: strings.Replace(full, "Insufficient cpu", "Too many pods", 1)}}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, simulate.Run(nil, nil, nil, tc.nodes, tc.pods, nil, tc.rollouts)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// What would be preempted is named, with what comes of it: what has a controller is
// made again and looks for a node itself, where it can preempt too. Budgets are kept to
// if that is possible, and pods of the same commit are not named.
func TestPreemption(t *testing.T) {
	owned := func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "rs", UID: "rs", Controller: new(true)}}
	}
	prio := func(n int32) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.Priority = &n } }
	labelled := func(p *corev1.Pod) { p.Labels = map[string]string{"app": "guarded"} }
	guard := []placement.Budget{{Namespace: "default", Selector: labels.SelectorFromSet(labels.Set{"app": "guarded"})}}
	one, two := []*corev1.Node{node("a")}, []*corev1.Node{node("a"), node("b")}
	type R = simulate.Rollout
	type outcome struct {
		Placed, Late int
		Stuck        bool
		Victims      string
	}
	old := several(2, "old", "a", cpu("2"))
	for name, tc := range map[string]struct {
		nodes    []*corev1.Node
		pods     []*corev1.Pod
		budgets  []placement.Budget
		rollouts []R
		want     []outcome
	}{
		"nobody makes it again": {one, several(1, "x", "a", cpu("3")), nil, []R{{Pod: pod("p", cpu("3"), prio(5)), Count: 1}}, []outcome{{1, 1, false, "x-0 Ends"}}},
		"it stays pending":      {one, several(1, "x", "a", cpu("3"), owned), nil, []R{{Pod: pod("p", cpu("3"), prio(5)), Count: 1}}, []outcome{{1, 1, false, "x-0 Pending"}}},
		"it finds room": {
			two, append(several(1, "x", "a", cpu("3"), owned), several(1, "y", "b", cpu("1"), prio(9))...), nil,
			[]R{{Pod: pod("p", cpu("4"), prio(5)), Count: 1}},
			[]outcome{{1, 1, false, "x-0 Moves"}},
		},
		"it preempts in its turn": {
			two, append(several(1, "x", "a", cpu("3"), owned, prio(3)), several(1, "y", "b", cpu("3"), owned)...), nil,
			[]R{{Pod: pod("p", cpu("3"), prio(5), only("a")), Count: 1}},
			[]outcome{{1, 1, false, "x-0 Moves, y-0 Pending"}},
		},
		"a budget": {
			two, append(several(1, "x", "a", cpu("3"), labelled), several(1, "y", "b", cpu("3"), prio(3))...), guard,
			[]R{{Pod: pod("p", cpu("3"), prio(5)), Count: 1}},
			[]outcome{{1, 1, false, "y-0 Ends"}},
		},
		"no budget": {
			two, append(several(1, "x", "a", cpu("3"), labelled), several(1, "y", "b", cpu("3"), prio(3))...), nil,
			[]R{{Pod: pod("p", cpu("3"), prio(5)), Count: 1}},
			[]outcome{{1, 1, false, "x-0 Ends"}},
		},
		"many, until none is left": {one, several(2, "x", "a", cpu("2")), nil, []R{{Pod: pod("p", cpu("2"), prio(5)), Count: 3}}, []outcome{{2, 2, false, "x-1 Ends, x-0 Ends"}}},
		"of the same commit":       {one, old, nil, []R{{Pod: pod("p", cpu("2"), prio(5)), Count: 1}, {Pod: pod("q", cpu("2")), Count: 2, Old: old, Surge: 1}}, []outcome{{1, 1, false, ""}, {Stuck: false}}},
		"a surge of another": {
			one, nil, nil, []R{{Pod: pod("q", cpu("2")), Count: 2}, {Pod: pod("p", cpu("2"), prio(5)), Count: 2}}, []outcome{{}, {2, 0, false, ""}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []outcome
			for _, o := range simulate.Run(nil, nil, nil, tc.nodes, tc.pods, tc.budgets, tc.rollouts) {
				var victims []string
				for _, v := range o.Victims {
					victims = append(victims, v.Pod.Name+" "+string(v.Then))
				}
				got = append(got, outcome{o.Placed, o.Late, o.Stuck, strings.Join(victims, ", ")})
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// only lets a pod run on one node.
func only(node string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}},
		}}}
	}
}
