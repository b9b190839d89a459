package placement_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"headway.dev/engine/scheduler/placement"
)

// named is for one node alone, as the pods of DaemonSets are.
func named(node string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}},
		}}}
	}
}

// What would have to be otherwise is said of each node, the nearest first, with all
// that is in the way and not only what the scheduler names.
func TestObstacles(t *testing.T) {
	cordon := func(n *corev1.Node) { n.Spec.Unschedulable = true }
	selects := func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "nvme"} }
	kept := func(p *corev1.Pod) {
		p.Spec.Priority = new(int32(5))
		p.Status.NominatedNodeName = "a"
	}
	for name, tc := range map[string]struct {
		pod   *corev1.Pod
		state []any
		want  []string // NODE: FIX; FIX (FIELD, FIELD)
	}{
		"room": {
			pod("p", requests("2", "1Gi")), []any{node("a"), pod("x", on("a"), requests("2200m", "1Gi")), node("b")}, []string{
				"b:",
				"a: needs 200m more CPU on a (spec.containers[*].resources.requests.cpu, spec.containers[*].resources.limits.cpu)",
			},
		},
		"the nearest first": {
			pod("p", requests("3", "1Mi")), []any{node("a"), pod("x", on("a"), requests("3", "1Gi")), node("b"), pod("y", on("b"), requests("1500m", "1Gi"))}, []string{
				"b: needs 500m more CPU on b (spec.containers[*].resources.requests.cpu, spec.containers[*].resources.limits.cpu)",
				"a: needs 2 more CPU on a (spec.containers[*].resources.requests.cpu, spec.containers[*].resources.limits.cpu)",
			},
		},
		"too large": {
			pod("p", requests("1", "9Gi")), []any{node("a")}, []string{
				"a: asks for 9Gi memory, and a has 8Gi in all: lower the request, or add a larger node (spec.containers[*].resources.requests.memory, spec.containers[*].resources.limits.memory)",
			},
		},
		"bytes": {
			pod("p", requests("1", "1073741825")), []any{node("a"), pod("x", on("a"), requests("1", "7Gi"))}, []string{
				"a: needs 1 more memory on a (spec.containers[*].resources.requests.memory, spec.containers[*].resources.limits.memory)",
			},
		},
		"extended": {
			pod("p", request("example.com/gpu", "2")), []any{node("a", func(n *corev1.Node) { n.Status.Allocatable["example.com/gpu"] = resource.MustParse("1") })}, []string{
				"a: asks for 2 example.com/gpu, and a has 1 in all: lower the request, or add a larger node (spec.containers[*].resources.requests.example.com/gpu, spec.containers[*].resources.limits.example.com/gpu)",
			},
		},
		"a taint and no room": {
			pod("p", requests("2", "1Mi")), []any{node("a", taint("v", corev1.TaintEffectNoSchedule)), pod("x", on("a"), requests("3", "1Mi"))}, []string{
				"a: add a toleration for k=v:NoSchedule (spec.tolerations); needs 1 more CPU on a (spec.containers[*].resources.requests.cpu, spec.containers[*].resources.limits.cpu)",
			},
		},
		"a node that is in trouble": {
			pod("p"), []any{node("a", func(n *corev1.Node) {
				n.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}}
			})}, []string{"a: wait until the taint node.kubernetes.io/not-ready of a is gone"},
		},
		"cordoned": {pod("p"), []any{node("a", cordon)}, []string{"a: uncordon a"}},
		"labels": {
			pod("p", selects), []any{node("a")}, []string{"a: label a with disk=nvme, or change spec.nodeSelector (spec.nodeSelector)"},
		},
		"another node by its name": {
			pod("p", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "b"} }), []any{node("a")}, []string{"a: change spec.nodeSelector, which asks for kubernetes.io/hostname=b (spec.nodeSelector)"},
		},
		"affinity": {
			pod("p", required("disk", "nvme")), []any{node("a")}, []string{"a: change spec.affinity.nodeAffinity so that it allows a, or the labels of a (spec.affinity.nodeAffinity)"},
		},
		"a DaemonSet's": {
			pod("p", requests("3", "1Mi"), named("a")), []any{node("a"), pod("x", on("a"), requests("3", "1Mi")), node("b")}, []string{
				"a: needs 2 more CPU on a (spec.containers[*].resources.requests.cpu, spec.containers[*].resources.limits.cpu)",
				"b:  (spec.affinity.nodeAffinity)",
			},
		},
		"another node": {
			pod("p", on("b")), []any{node("a")}, []string{"a: remove spec.nodeName, which is b (spec.nodeName)"},
		},
		"ports": {
			pod("p", hostPort(80)), []any{node("a"), pod("x", on("a"), hostPort(80))}, []string{"a: free the host port 80/TCP on a, or take another (spec.containers[*].ports)"},
		},
		"kept": {
			pod("p", requests("2", "1Mi")), []any{node("a"), pod("x", requests("3", "1Mi"), kept)}, []string{"a: a is kept for another pod that is no less important"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := placement.NewSnapshot()
			for _, o := range tc.state {
				switch o := o.(type) {
				case *corev1.Node:
					s.SetNode(o)
				case *corev1.Pod:
					s.SetPod(o)
					s.Nominate(o, o.Status.NominatedNodeName)
				}
			}
			var got []string
			for _, h := range placement.Obstacles(tc.pod, s) {
				var fixes []string
				for _, o := range h.Obstacles {
					text := o.Fix
					if len(o.Fields) > 0 {
						text += " (" + strings.Join(o.Fields, ", ") + ")"
					}
					fixes = append(fixes, text)
				}
				got = append(got, strings.TrimSpace(h.Node+": "+strings.Join(fixes, "; ")))
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// A node has obstacles exactly if the scheduler refuses it, and what the scheduler says
// is among them.
func TestObstaclesAgreeWithScheduler(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			w.step(t)
		}
		p := w.drawPod(t)
		said := map[string][]string{}
		for _, v := range placement.Explain(p, w.kept) {
			said[v.Node] = v.Reasons
		}
		hurdles := placement.Obstacles(p, w.kept)
		if len(hurdles) != len(said) {
			t.Fatalf("%d nodes, want %d", len(hurdles), len(said))
		}
		for _, h := range hurdles {
			var reasons []string
			for _, o := range h.Obstacles {
				reasons = append(reasons, o.Reason)
				if o.Fix == "" {
					t.Fatalf("nothing is said against %q", o.Reason)
				}
			}
			for _, r := range said[h.Node] {
				if !slices.Contains(reasons, r) {
					t.Fatalf("%s says %q; obstacles are %q", h.Node, r, reasons)
				}
			}
			if (len(reasons) == 0) != (len(said[h.Node]) == 0) {
				t.Fatalf("%s says %q; obstacles are %q", h.Node, said[h.Node], reasons)
			}
		}
	})
}
