package placement_test

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/engine/scheduler/placement"
)

func node(name string, edit ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"disk": "ssd", "host": name, corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("5"), "ephemeral-storage": resource.MustParse("10Gi"),
		}},
	}
	for _, e := range edit {
		e(n)
	}
	return n
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

func requests(cpu, memory string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse(memory)}
	}
}

func request(name corev1.ResourceName, quantity string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{name: resource.MustParse(quantity)}
	}
}

func on(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

func hostPort(port int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: port, HostPort: port}}
	}
}

func taint(value string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "k", Value: value, Effect: effect})
	}
}

func required(key string, values ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: values}}}},
		}}}
	}
}

func snapshot(objs ...any) *placement.Snapshot { return fill(placement.NewSnapshot(), objs) }

// fill tells a snapshot of nodes and pods.
func fill(s *placement.Snapshot, objs []any) *placement.Snapshot {
	for _, o := range objs {
		switch o := o.(type) {
		case *corev1.Node:
			s.SetNode(o)
		case *corev1.Pod:
			s.SetPod(o)
		}
	}
	return s
}

// Each filter refuses what it should, in Kubernetes' words, and nothing else.
func TestFilter(t *testing.T) {
	cordoned := func(n *corev1.Node) { n.Spec.Unschedulable = true }
	tolerate := func(key string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: key, Operator: corev1.TolerationOpExists}}
		}
	}
	full := []any{node("a")}
	for i := range 5 {
		full = append(full, pod(fmt.Sprintf("full-%d", i), on("a")))
	}
	// The sum of two containers can be more than their amounts can be.
	twice := func(memory string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			requests("1m", memory)(p)
			p.Spec.Containers = append(p.Spec.Containers, p.Spec.Containers[0])
		}
	}
	for _, tc := range []struct {
		name  string
		state []any
		pod   *corev1.Pod
		want  []string
		final bool
	}{
		{"fits", []any{node("a")}, pod("p", requests("4", "8Gi")), nil, false},
		{"cordoned", []any{node("a", cordoned)}, pod("p"), []string{"node(s) were unschedulable"}, true},
		{"cordoned, tolerated", []any{node("a", cordoned)}, pod("p", tolerate(corev1.TaintNodeUnschedulable)), nil, false},
		{"other node named", []any{node("a")}, pod("p", on("b")), []string{"node(s) didn't match the requested node name"}, true},
		{"tainted", []any{node("a", taint("v", corev1.TaintEffectNoSchedule))}, pod("p"), []string{"node(s) had untolerated taint(s)"}, true},
		{"tainted NoExecute", []any{node("a", taint("v", corev1.TaintEffectNoExecute))}, pod("p"), []string{"node(s) had untolerated taint(s)"}, true},
		{"tainted, tolerated", []any{node("a", taint("v", corev1.TaintEffectNoSchedule))}, pod("p", tolerate("k")), nil, false},
		{"tainted PreferNoSchedule", []any{node("a", taint("v", corev1.TaintEffectPreferNoSchedule))}, pod("p"), nil, false},
		{"selector", []any{node("a")}, pod("p", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "hdd"} }), []string{"node(s) didn't match Pod's node affinity/selector"}, true},
		{"affinity", []any{node("a")}, pod("p", required("disk", "hdd", "tape")), []string{"node(s) didn't match Pod's node affinity/selector"}, true},
		{"affinity met", []any{node("a")}, pod("p", required("disk", "hdd", "ssd")), nil, false},
		{"port taken", []any{node("a"), pod("q", on("a"), hostPort(80))}, pod("p", hostPort(80)), []string{"node(s) didn't have free ports for the requested pod ports"}, false},
		{"port free", []any{node("a"), pod("q", on("a"), hostPort(81))}, pod("p", hostPort(80)), nil, false},
		{"no CPU and memory left", []any{node("a"), pod("q", on("a"), requests("3", "7Gi"))}, pod("p", requests("2", "2Gi")), []string{"Insufficient cpu", "Insufficient memory"}, false},
		{"more than the node has", []any{node("a")}, pod("p", requests("5", "1Gi")), []string{"Insufficient cpu"}, true},
		{"ephemeral storage", []any{node("a")}, pod("p", request("ephemeral-storage", "11Gi")), []string{"Insufficient ephemeral-storage"}, true},
		{"extended resource", []any{node("a")}, pod("p", request("example.com/gpu", "1")), []string{"Insufficient example.com/gpu"}, true},
		{"more than an int64 holds", []any{node("a")}, pod("p", twice("8Ei")), []string{"Insufficient memory"}, true},
		{"more thousandths than an int64 holds", []any{node("a")}, pod("p", requests("9223372036854775807", "1Gi")), []string{"Insufficient cpu"}, true},
		{"beside a pod that asks for more than an int64 holds", []any{node("a"), pod("q", on("a"), twice("8Ei")), pod("r", on("a"), twice("8Ei"))}, pod("p", requests("1", "1Gi")), []string{"Insufficient memory"}, false},
		{"too many pods", full, pod("p"), []string{"Too many pods"}, false},
		{"ended pods take nothing", []any{node("a"), pod("q", on("a"), requests("4", "8Gi"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })}, pod("p", requests("4", "8Gi")), nil, false},
		{"does not stand in its own way", []any{node("a"), pod("p", on("a"), requests("4", "8Gi"), hostPort(80))}, pod("p", on("a"), requests("4", "8Gi"), hostPort(80)), nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := placement.Explain(tc.pod, snapshot(tc.state...))
			if len(got) != 1 || !cmp.Equal(got[0].Reasons, tc.want) || got[0].Final != tc.final {
				t.Errorf("Explain = %+v, want %q, final %v", got, tc.want, tc.final)
			}
		})
	}
}

// The message counts the reasons as Kubernetes' scheduler does.
func TestMessage(t *testing.T) {
	s := snapshot(node("a"), node("b", taint("v", corev1.TaintEffectNoSchedule)), node("c", taint("w", corev1.TaintEffectNoSchedule)), pod("q", on("a"), requests("4", "1Gi")))
	_, failure := placement.Pick(pod("p", requests("1", "1Gi")), s, 0)
	if got, want := failure.Message(), "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). "+
		"preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."; got != want {
		t.Errorf("message = %q\nwant      %q", got, want)
	}
	_, failure = placement.Pick(pod("p"), snapshot(), 0)
	if got, want := failure.Message(), "no nodes available to schedule pods"; got != want {
		t.Errorf("message = %q, want %q", got, want)
	}
	_, failure = placement.Pick(pod("p", requests("9", "1Gi"), func(p *corev1.Pod) { p.Spec.PreemptionPolicy = new(corev1.PreemptNever) }), snapshot(node("a")), 0)
	if got, want := failure.Message(), "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."; got != want {
		t.Errorf("message = %q, want %q", got, want)
	}
}

// The scores prefer what they should.
func TestPrefer(t *testing.T) {
	owner := func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{UID: "rs", Controller: new(true)}}
	}
	for _, tc := range []struct {
		name  string
		state []any
		pod   *corev1.Pod
		want  string
	}{
		{"the emptier node", []any{node("a"), node("b"), pod("q", on("a"), requests("2", "4Gi"))}, pod("p", requests("1", "1Gi")), "b"},
		{"the node without siblings", []any{node("a"), node("b"), pod("q", on("a"), owner, requests("100m", "100Mi")), pod("r", on("b"), requests("500m", "1Gi"))}, pod("p", owner, requests("100m", "100Mi")), "b"},
		{"the node without a soft taint", []any{node("a", taint("v", corev1.TaintEffectPreferNoSchedule)), node("b"), pod("q", on("b"), requests("2", "4Gi"))}, pod("p"), "b"},
		{"the preferred node", []any{node("a"), node("b"), pod("q", on("b"), requests("1", "2Gi"))}, pod("p", func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
				Weight: 10, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "host", Operator: corev1.NodeSelectorOpIn, Values: []string{"b"}}}},
			}}}}
		}), "b"},
		{"the balanced node", []any{node("a"), node("b"), pod("q", on("a"), requests("2", "0")), pod("r", on("b"), requests("0", "4Gi"))}, pod("p", requests("1", "1Gi")), "b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for seed := range uint64(10) {
				if got, failure := placement.Pick(tc.pod, snapshot(tc.state...), seed); got != tc.want {
					t.Errorf("Pick with seed %d = %q, %v, want %q", seed, got, failure, tc.want)
				}
			}
		})
	}
}

// Whatever comes and goes: no node gets more than it has, a pod is refused
// only if it fits nowhere, the choice depends on nothing but the inputs, and
// the snapshot equals one that is made afresh.
func TestSnapshotProperties(t *testing.T) {
	for seed := range int64(50) {
		r := rand.New(rand.NewSource(seed))
		s := placement.NewSnapshot()
		nodes := map[string]*corev1.Node{}
		pods := map[types.UID]*corev1.Pod{}
		for i := range 5 {
			n := node(fmt.Sprintf("n%d", i))
			nodes[n.Name] = n
			s.SetNode(n)
		}
		for i := range 150 {
			if len(pods) > 0 && r.Intn(3) == 0 {
				for uid := range pods {
					s.RemovePod(uid)
					delete(pods, uid)
					break
				}
				continue
			}
			p := pod(fmt.Sprintf("p%d", i), requests(fmt.Sprintf("%dm", r.Intn(3000)), fmt.Sprintf("%dMi", r.Intn(4000))))
			fresh := placement.NewSnapshot()
			for _, n := range nodes {
				fresh.SetNode(n)
			}
			for _, q := range pods {
				fresh.SetPod(q)
			}
			name, failure := placement.Pick(p, s, 7)
			again, _ := placement.Pick(p, fresh, 7)
			if name != again {
				t.Fatalf("seed %d: kept snapshot gives %q, a fresh one %q", seed, name, again)
			}
			fits := slices.ContainsFunc(placement.Explain(p, fresh), func(v placement.Verdict) bool { return len(v.Reasons) == 0 })
			if (failure == nil) != fits {
				t.Fatalf("seed %d: Pick = %q, %v, but Explain says %v", seed, name, failure, fits)
			}
			if failure != nil {
				continue
			}
			p.Spec.NodeName = name
			s.Assume(p, name)
			pods[p.UID] = p
		}
		for name := range nodes {
			var cpu, memory, n int64
			for _, p := range pods {
				if p.Spec.NodeName == name {
					cpu += p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
					memory += p.Spec.Containers[0].Resources.Requests.Memory().Value()
					n++
				}
			}
			if cpu > 4000 || memory > 8<<30 || n > 5 {
				t.Errorf("seed %d: node %s got %dm CPU, %d bytes, %d pods", seed, name, cpu, memory, n)
			}
		}
	}
}

func BenchmarkPick1000PodsOn100Nodes(b *testing.B) {
	for b.Loop() {
		s := placement.NewSnapshot()
		for i := range 100 {
			s.SetNode(node(fmt.Sprintf("n%03d", i), func(n *corev1.Node) {
				n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("110")
			}))
		}
		for i := range 1000 {
			p := pod(fmt.Sprintf("p%04d", i), requests("100m", "100Mi"))
			name, failure := placement.Pick(p, s, 0)
			if failure != nil {
				b.Fatal(failure.Message())
			}
			s.Assume(p, name)
		}
	}
}
