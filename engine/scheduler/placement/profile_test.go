package placement_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/scheduler/placement"
	"headway.dev/engine/scheduler/placement/profile"
)

// profiled is a snapshot with a profile "mine", given as YAML, beside the default one.
func profiled(t *testing.T, text string, objs ...any) *placement.Snapshot {
	t.Helper()
	c, err := profile.Read([]byte("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n- schedulerName: default-scheduler\n- " +
		strings.ReplaceAll("schedulerName: mine\n"+text, "\n", "\n  ")))
	if err != nil {
		t.Fatal(err)
	}
	s := placement.NewSnapshot()
	s.Profiles = c.Profiles
	return fill(s, objs)
}

func mine(p *corev1.Pod) { p.Spec.SchedulerName = "mine" }

func owned(p *corev1.Pod) {
	p.OwnerReferences = []metav1.OwnerReference{{UID: "rs", Controller: new(true)}}
}

// What a profile says has its effect on its pods, and none on the others: each of the
// cases has one place for a pod of the profile, and another for one of the default.
func TestProfiles(t *testing.T) {
	cordoned := func(n *corev1.Node) { n.Spec.Unschedulable = true }
	labelled := func(key, value string) editNode { return func(n *corev1.Node) { n.Labels[key] = value } }
	gpus := func(n string) editNode {
		return func(on *corev1.Node) { on.Status.Allocatable["example.com/gpu"] = resource.MustParse(n) }
	}
	image := func(n *corev1.Node) {
		n.Status.Images = []corev1.ContainerImage{{Names: []string{"web:1"}, SizeBytes: 900 << 20}}
	}
	runs := func(p *corev1.Pod) { p.Spec.Containers[0].Image = "web:1" }
	both := func(edits ...editPod) editPod {
		return func(p *corev1.Pod) {
			for _, e := range edits {
				e(p)
			}
		}
	}
	wants := func(key, value string) editPod {
		return func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
				Weight: 100, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}}},
			}}}}
		}
	}
	drawn := func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
			{Weight: 100, PodAffinityTerm: term(corev1.LabelHostname, matching("app", "web"))},
		}}}
	}
	fit := func(text string) string { return "pluginConfig: [{name: NodeResourcesFit, args: {" + text + "}}]" }
	half := pod("half", on("a"), requests("2", "4Gi"))
	bin := fit("scoringStrategy: {type: RequestedToCapacityRatio, resources: [{name: example.com/gpu, weight: 3}, {name: cpu}], requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}}")
	for name, tc := range map[string]struct {
		profile     string
		state       []any
		pod         editPod
		mine, other string // a node, or the beginning of a message
	}{
		"MostAllocated":          {fit("scoringStrategy: {type: MostAllocated}"), []any{node("a"), node("b"), half}, requests("1", "1Gi"), "a", "b"},
		"LeastAllocated, by one": {fit("scoringStrategy: {type: LeastAllocated, resources: [{name: memory}]}"), []any{node("a"), node("b"), pod("x", on("a"), requests("3", "1Gi")), pod("y", on("b"), requests("100m", "2Gi"))}, requests("10m", "1Gi"), "a", "b"},
		"by ephemeral storage":   {fit("scoringStrategy: {type: LeastAllocated, resources: [{name: ephemeral-storage, weight: 100}]}") + "\nplugins: {score: {disabled: [{name: '*'}], enabled: [{name: NodeResourcesFit}]}}", []any{node("a"), node("b"), pod("x", on("b"), request("ephemeral-storage", "5Gi")), pod("y", on("a"), requests("1", "1Gi"))}, requests("1", "1Gi"), "a", "b"},
		"a curve of what is rare": {bin, []any{node("a", gpus("4")), node("b", gpus("4")), pod("x", on("a"), both(requests("1", "1Gi"), func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests["example.com/gpu"] = resource.MustParse("2")
		}))}, request("example.com/gpu", "2"), "a", "b"},
		"who wants nothing rare":       {bin, []any{node("a", gpus("4")), node("b", gpus("4")), pod("x", on("a"), request("example.com/gpu", "4")), pod("y", on("b"), requests("2", "1Gi"))}, requests("1", "1Gi"), "b", "a"},
		"an ignored resource":          {fit("ignoredResources: [example.com/gpu]"), []any{node("a")}, request("example.com/gpu", "1"), "a", "0/1 nodes are available: 1 Insufficient example.com/gpu."},
		"an ignored group":             {fit("ignoredResourceGroups: [example.com]"), []any{node("a")}, request("example.com/gpu", "1"), "a", "0/1 nodes are available: 1 Insufficient example.com/gpu."},
		"another ignored group":        {fit("ignoredResourceGroups: [example.org]"), []any{node("a")}, request("example.com/gpu", "1"), "0/1 nodes are available: 1 Insufficient example.com/gpu.", "0/1 nodes are available: 1 Insufficient example.com/gpu."},
		"a balance of other resources": {"pluginConfig: [{name: NodeResourcesBalancedAllocation, args: {resources: [{name: cpu}, {name: example.com/gpu}]}}]\nplugins: {score: {disabled: [{name: NodeResourcesFit}]}}", []any{node("a", gpus("4")), node("b", gpus("4")), pod("x", on("a"), requests("3", "7Gi")), pod("y", on("b"), requests("1", "1Gi"))}, request("example.com/gpu", "3"), "a", "b"},

		"no taints":       {"plugins: {filter: {disabled: [{name: TaintToleration}]}}", []any{node("a", taint("v", corev1.TaintEffectNoSchedule))}, requests("1", "1Gi"), "a", "0/1 nodes are available: 1 node(s) had untolerated taint(s)."},
		"no cordon":       {"plugins: {multiPoint: {disabled: [{name: NodeUnschedulable}]}}", []any{node("a", cordoned)}, requests("1", "1Gi"), "a", "0/1 nodes are available: 1 node(s) were unschedulable."},
		"no ports":        {"plugins: {filter: {disabled: [{name: NodePorts}]}}", []any{node("a"), pod("x", on("a"), hostPort(80))}, hostPort(80), "a", "0/1 nodes are available: 1 node(s) didn't have free ports"},
		"no resources":    {"plugins: {filter: {disabled: [{name: NodeResourcesFit}]}}", []any{node("a"), half}, requests("3", "1Gi"), "a", "0/1 nodes are available: 1 Insufficient cpu."},
		"no selector":     {"plugins: {filter: {disabled: [{name: NodeAffinity}]}}", []any{node("a")}, required("disk", "nvme"), "a", "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."},
		"no named node":   {"plugins: {filter: {disabled: [{name: NodeAffinity}]}}", []any{node("a")}, named("b"), "a", "0/1 nodes are available: 1 node(s) didn't satisfy plugin(s) [NodeAffinity]."},
		"no spread":       {"plugins: {filter: {disabled: [{name: PodTopologySpread}]}}", []any{node("a")}, spread(1, "nowhere"), "a", "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label)."},
		"no affinity":     {"plugins: {filter: {disabled: [{name: InterPodAffinity}]}}", []any{node("a")}, attracted(term(corev1.LabelHostname, matching("app", "none"))), "a", "0/1 nodes are available: 1 node(s) didn't match pod affinity rules."},
		"no rejection":    {"plugins: {filter: {disabled: [{name: InterPodAffinity}]}}", []any{node("a"), pod("x", on("a"), label("app", "web"))}, repelled(term(corev1.LabelHostname, matching("app", "web"))), "a", "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."},
		"no preemption":   {"plugins: {postFilter: {disabled: [{name: DefaultPreemption}]}}", []any{node("a"), half}, both(requests("3", "1Gi"), prioritised(5)), "0/1 nodes are available: 1 Insufficient cpu.", "on a after half"},
		"no images":       {"plugins: {score: {disabled: [{name: ImageLocality}]}}", []any{node("a", image), node("b"), pod("x", on("a"), requests("100m", "200Mi"))}, runs, "b", "a"},
		"images above":    {"plugins: {score: {enabled: [{name: ImageLocality, weight: 50}]}}", []any{node("a", image), node("b"), half}, runs, "a", "b"},
		"no preference":   {"plugins: {score: {disabled: [{name: NodeAffinity}]}}", []any{node("a", labelled("x", "y")), node("b"), half}, wants("x", "y"), "b", "a"},
		"no bad taints":   {"plugins: {score: {disabled: [{name: TaintToleration}]}}", []any{node("a", taint("v", corev1.TaintEffectPreferNoSchedule)), node("b"), pod("x", on("b"), requests("2", "4Gi"))}, requests("1", "1Gi"), "a", "b"},
		"no drawn pods":   {"plugins: {score: {disabled: [{name: InterPodAffinity}]}}", []any{node("a"), node("b"), pod("x", on("a"), label("app", "web"), requests("2", "4Gi"))}, drawn, "b", "a"},
		"no soft spread":  {"plugins: {score: {disabled: [{name: PodTopologySpread}]}}", []any{node("a"), node("b"), pod("x", on("b"), owned, requests("10m", "10Mi")), pod("y", on("a"), requests("1", "2Gi"))}, owned, "b", "a"},
		"enforced labels": {"pluginConfig: [{name: NodeAffinity, args: {addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: x, operator: Exists}]}]}}}}]", []any{node("a", labelled("x", "y")), node("b"), half}, requests("1", "1Gi"), "a", "b"},
		"labels that no node has": {
			"pluginConfig: [{name: NodeAffinity, args: {addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: x, operator: Exists}]}]}}}}]",
			[]any{node("a")},
			requests("1", "1Gi"),
			"0/1 nodes are available: 1 node(s) didn't match scheduler-enforced node affinity.", "a",
		},
		"preferred labels":      {"pluginConfig: [{name: NodeAffinity, args: {addedAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: x, operator: Exists}]}}]}}}]", []any{node("a", labelled("x", "y")), node("b"), half}, requests("1", "1Gi"), "a", "b"},
		"others that attract":   {"pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 0}}]", []any{node("a"), node("b"), pod("x", on("a"), attracted(term(corev1.LabelHostname, matching("app", "web"))), requests("2", "4Gi"))}, label("app", "web"), "b", "a"},
		"preferences of others": {"pluginConfig: [{name: InterPodAffinity, args: {ignorePreferredTermsOfExistingPods: true}}]", []any{node("a"), node("b"), pod("x", on("a"), drawn, requests("2", "4Gi"))}, label("app", "web"), "b", "a"},
		"a default that must be met": {
			"pluginConfig: [{name: PodTopologySpread, args: {defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]}}]",
			[]any{node("a", zone("1")), node("b", zone("2"), cordoned), pod("x", on("a"), owned)},
			owned,
			"0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) were unschedulable.", "a",
		},
		"a default for those with a controller": {"pluginConfig: [{name: PodTopologySpread, args: {defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: nowhere, whenUnsatisfiable: DoNotSchedule}]}}]", []any{node("a")}, requests("1", "1Gi"), "a", "a"},
		"no default":                            {"pluginConfig: [{name: PodTopologySpread, args: {defaultingType: List}}]", []any{node("a"), node("b"), pod("x", on("b"), owned, requests("10m", "10Mi")), pod("y", on("a"), requests("1", "2Gi"))}, owned, "b", "a"},
		"a default by zones":                    {"pluginConfig: [{name: PodTopologySpread, args: {defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]}}]", []any{node("a", zone("1")), node("b", zone("2")), node("c", zone("2")), pod("x", on("b"), owned, requests("10m", "10Mi")), pod("y", on("a"), requests("2", "4Gi"))}, owned, "a", "c"},
		"a default of the pod's":                {"pluginConfig: [{name: PodTopologySpread, args: {defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: nowhere, whenUnsatisfiable: DoNotSchedule}]}}]", []any{node("a", zone("1"))}, both(owned, spread(1, "zone")), "a", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			s := profiled(t, tc.profile, tc.state...)
			for _, of := range []struct {
				name string
				edit editPod
				want string
			}{{"mine", mine, tc.mine}, {"default", func(*corev1.Pod) {}, tc.other}, {"mine", mine, tc.mine}} {
				p := pod("p", tc.pod, of.edit)
				got, failure := placement.Pick(p, s, 0)
				if failure != nil {
					if found := placement.Preempt(p, s, failure, nil, 0); found != nil {
						got = fmt.Sprintf("on %s after %s", found.Node, found.Victims[0].Name)
					} else {
						got = failure.Message()
					}
				}
				if !strings.HasPrefix(got, of.want) {
					t.Errorf("of the profile %s: %q, want %q", of.name, got, of.want)
				}
				if fits := placement.Obstacles(p, s); (failure == nil) != (len(fits[0].Obstacles) == 0) {
					t.Errorf("of the profile %s: %q, and its obstacles are %+v", of.name, got, fits)
				}
			}
		})
	}
}

// Who is not to preempt is told nothing about it.
func TestMessageWithoutPreemption(t *testing.T) {
	s := profiled(t, "plugins: {multiPoint: {disabled: [{name: DefaultPreemption}]}}", node("a"))
	_, failure := placement.Pick(pod("p", requests("9", "1Gi"), mine), s, 0)
	if want := "0/1 nodes are available: 1 Insufficient cpu."; failure == nil || failure.Message() != want {
		t.Errorf("message %q, want %q", failure.Message(), want)
	}
}

// Of many nodes a profile compares as many as it says: with all of them the best is found.
func TestPercentageOfNodes(t *testing.T) {
	s := profiled(t, "percentageOfNodesToScore: 100")
	for i := range 1000 {
		s.SetNode(node(fmt.Sprintf("n%03d", i)))
		if i != 777 {
			s.SetPod(pod(fmt.Sprint(i), on(fmt.Sprintf("n%03d", i)), requests("1", "2Gi")))
		}
	}
	found := 0
	for i := range 20 {
		p := func(edit ...editPod) string {
			got, _ := placement.Pick(pod(fmt.Sprint("p", i), append(edit, requests("1", "2Gi"))...), s, 0)
			return got
		}
		if got := p(mine); got != "n777" {
			t.Errorf("the best of all nodes is %s, want n777", got)
		}
		if p() == "n777" {
			found++
		}
	}
	if found == 20 {
		t.Error("the default profile compares all nodes, too")
	}
}
