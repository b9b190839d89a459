package placement_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"headway.dev/engine/scheduler/placement"
)

type (
	editPod  = func(*corev1.Pod)
	editNode = func(*corev1.Node)
)

func label(kv ...string) editPod {
	return func(p *corev1.Pod) {
		if p.Labels == nil {
			p.Labels = map[string]string{}
		}
		for i := 0; i < len(kv); i += 2 {
			p.Labels[kv[i]] = kv[i+1]
		}
	}
}

func in(namespace string) editPod { return func(p *corev1.Pod) { p.Namespace = namespace } }

func zone(value string) editNode { return func(n *corev1.Node) { n.Labels["zone"] = value } }

func matching(kv ...string) *metav1.LabelSelector {
	s := &metav1.LabelSelector{MatchLabels: map[string]string{}}
	for i := 0; i < len(kv); i += 2 {
		s.MatchLabels[kv[i]] = kv[i+1]
	}
	return s
}

func term(key string, selector *metav1.LabelSelector, edit ...func(*corev1.PodAffinityTerm)) corev1.PodAffinityTerm {
	t := corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: selector}
	for _, e := range edit {
		e(&t)
	}
	return t
}

func attracted(terms ...corev1.PodAffinityTerm) editPod {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
	}
}

func repelled(terms ...corev1.PodAffinityTerm) editPod {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
	}
}

func spread(skew int32, key string, edit ...func(*corev1.TopologySpreadConstraint)) editPod {
	return func(p *corev1.Pod) {
		c := corev1.TopologySpreadConstraint{MaxSkew: skew, TopologyKey: key, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: matching("foo", "bar")}
		for _, e := range edit {
			e(&c)
		}
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, c)
	}
}

func prioritised(n int32) editPod { return func(p *corev1.Pod) { p.Spec.Priority = &n } }

type namespaced struct {
	name   string
	labels map[string]string
}

func built(objs ...any) *placement.Snapshot {
	s := snapshot(objs...)
	for _, o := range objs {
		if ns, ok := o.(namespaced); ok {
			s.SetNamespace(ns.name, ns.labels)
		}
	}
	return s
}

const (
	spreadReason  = "node(s) didn't match pod topology spread constraints"
	labelReason   = "node(s) didn't match pod topology spread constraints (missing required label)"
	affinityWords = "node(s) didn't match pod affinity rules"
	antiWords     = "node(s) didn't match pod anti-affinity rules"
	existingWords = "node(s) didn't satisfy existing pods anti-affinity rules"
)

// The examples of the documentation of topology spread and of affinity between
// pods, node by node.
func TestRulesBetweenPods(t *testing.T) {
	// zoneA has node1 and node2, zoneB has node3 and node4, as in the documentation.
	four := []any{node("node1", zone("zoneA")), node("node2", zone("zoneA")), node("node3", zone("zoneB")), node("node4", zone("zoneB"))}
	bars := func(where ...string) []any {
		list := slices.Clone(four)
		for i, w := range where {
			list = append(list, pod(fmt.Sprintf("bar%d", i), on(w), label("foo", "bar")))
		}
		return list
	}
	documented := bars("node1", "node2", "node3")
	five := append(bars("node1", "node2", "node3"), node("node5", zone("zoneC")))
	web := matching("app", "web")
	webOf1 := matching("app", "web")
	webOf1.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "hash", Operator: metav1.LabelSelectorOpIn, Values: []string{"1"}}}
	store := pod("store", on("node1"), label("app", "store"))
	elsewhere := pod("there", on("node1"), in("other"), label("app", "store"))
	teams := namespaced{"other", map[string]string{"team": "a"}}
	bySelector := func(s *metav1.LabelSelector) func(*corev1.PodAffinityTerm) {
		return func(t *corev1.PodAffinityTerm) { t.NamespaceSelector = s }
	}
	for name, tc := range map[string]struct {
		state []any
		pod   *corev1.Pod
		want  map[string]string // node: reason
	}{
		"one constraint": {documented, pod("p", label("foo", "bar"), spread(1, "zone")), map[string]string{"node1": spreadReason, "node2": spreadReason}},
		"skew of two":    {documented, pod("p", label("foo", "bar"), spread(2, "zone")), nil},
		"two constraints": {documented, pod("p", label("foo", "bar"), spread(1, "zone"), spread(1, corev1.LabelHostname)), map[string]string{
			"node1": spreadReason, "node2": spreadReason, "node3": spreadReason,
		}},
		"two that conflict": {bars("node1", "node1", "node2", "node3", "node3"), pod("p", label("foo", "bar"), spread(1, "zone"), spread(1, corev1.LabelHostname)), map[string]string{
			"node1": spreadReason, "node2": spreadReason, "node3": spreadReason,
		}},
		"a zone that affinity excludes": {five, pod("p", label("foo", "bar"), spread(1, "zone"), func(p *corev1.Pod) {
			required("zone", "zoneA", "zoneB")(p)
		}), map[string]string{"node1": spreadReason, "node2": spreadReason, "node5": "node(s) didn't match Pod's node affinity/selector"}},
		"ignored affinity": {five, pod("p", label("foo", "bar"), spread(1, "zone", func(c *corev1.TopologySpreadConstraint) {
			c.NodeAffinityPolicy = new(corev1.NodeInclusionPolicyIgnore)
		}), required("zone", "zoneA", "zoneB")), map[string]string{
			"node1": spreadReason, "node2": spreadReason, "node3": spreadReason, "node4": spreadReason, "node5": "node(s) didn't match Pod's node affinity/selector",
		}},
		"minDomains": {bars("node1", "node3"), pod("p", label("foo", "bar"), spread(1, "zone", func(c *corev1.TopologySpreadConstraint) { c.MinDomains = new(int32(3)) })), map[string]string{
			"node1": spreadReason, "node2": spreadReason, "node3": spreadReason, "node4": spreadReason,
		}},
		"honoured taints": {append(bars("node1", "node3"), node("node5", zone("zoneC"), taint("v", corev1.TaintEffectNoSchedule))), pod("p", label("foo", "bar"), spread(1, "zone", func(c *corev1.TopologySpreadConstraint) {
			c.NodeTaintsPolicy = new(corev1.NodeInclusionPolicyHonor)
		})), map[string]string{"node5": "node(s) had untolerated taint(s)"}},
		"a node without the label": {append(bars("node1"), node("bare")), pod("p", label("foo", "bar"), spread(1, "zone")), map[string]string{"node1": spreadReason, "node2": spreadReason, "bare": labelReason}},
		"matchLabelKeys":           {documented, pod("p", label("foo", "bar", "version", "2"), spread(1, "zone", func(c *corev1.TopologySpreadConstraint) { c.MatchLabelKeys = []string{"version"} })), nil},
		"pods of other namespaces": {documented, pod("p", in("other"), label("foo", "bar"), spread(1, "zone")), nil},

		"affinity":                 {append(slices.Clone(four), store), pod("p", attracted(term("zone", matching("app", "store")))), map[string]string{"node3": affinityWords, "node4": affinityWords}},
		"affinity to nobody":       {four, pod("p", attracted(term("zone", matching("app", "store")))), map[string]string{"node1": affinityWords, "node2": affinityWords, "node3": affinityWords, "node4": affinityWords}},
		"the first of its kind":    {append(slices.Clone(four), node("bare")), pod("p", label("app", "web"), attracted(term("zone", web))), map[string]string{"bare": affinityWords}},
		"two terms, one pod":       {append(slices.Clone(four), pod("a", on("node1"), label("x", "1")), pod("b", on("node1"), label("y", "1"))), pod("p", attracted(term("zone", matching("x", "1")), term("zone", matching("y", "1")))), map[string]string{"node1": affinityWords, "node2": affinityWords, "node3": affinityWords, "node4": affinityWords}},
		"another namespace":        {append(slices.Clone(four), elsewhere), pod("p", attracted(term("zone", matching("app", "store"), func(t *corev1.PodAffinityTerm) { t.Namespaces = []string{"other"} }))), map[string]string{"node3": affinityWords, "node4": affinityWords}},
		"namespaces by label":      {append(slices.Clone(four), elsewhere, teams), pod("p", attracted(term("zone", matching("app", "store"), bySelector(matching("team", "a"))))), map[string]string{"node3": affinityWords, "node4": affinityWords}},
		"namespaces of no team":    {append(slices.Clone(four), elsewhere, teams), pod("p", repelled(term("zone", matching("app", "store"), bySelector(matching("team", "b"))))), nil},
		"all namespaces":           {append(slices.Clone(four), elsewhere), pod("p", repelled(term("zone", matching("app", "store"), bySelector(&metav1.LabelSelector{})))), map[string]string{"node1": antiWords, "node2": antiWords}},
		"anti-affinity by host":    {append(slices.Clone(four), store), pod("p", repelled(term(corev1.LabelHostname, matching("app", "store")))), map[string]string{"node1": antiWords}},
		"those of existing pods":   {append(slices.Clone(four), pod("q", on("node3"), repelled(term("zone", web)))), pod("p", label("app", "web")), map[string]string{"node3": existingWords, "node4": existingWords}},
		"of the same version":      {append(slices.Clone(four), pod("q", on("node1"), label("app", "web", "hash", "1"))), pod("p", label("app", "web", "hash", "2"), repelled(term("zone", web, func(t *corev1.PodAffinityTerm) { t.MatchLabelKeys = []string{"hash"} }))), nil},
		"merged at creation":       {append(slices.Clone(four), pod("q", on("node1"), label("app", "web", "hash", "1"))), pod("p", label("app", "web", "hash", "2"), repelled(term("zone", webOf1, func(t *corev1.PodAffinityTerm) { t.MatchLabelKeys = []string{"hash"} }))), map[string]string{"node1": antiWords, "node2": antiWords}},
		"of another tenant":        {append(slices.Clone(four), pod("q", on("node1"), label("app", "web", "tenant", "1")), pod("r", on("node3"), label("app", "web", "tenant", "2"))), pod("p", label("app", "web", "tenant", "2"), repelled(term("zone", web, func(t *corev1.PodAffinityTerm) { t.MismatchLabelKeys = []string{"tenant"} }))), map[string]string{"node1": antiWords, "node2": antiWords}},
		"a selector that is unset": {append(slices.Clone(four), store), pod("p", repelled(term("zone", nil))), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]string{}
			for _, v := range placement.Explain(tc.pod, built(tc.state...)) {
				if len(v.Reasons) > 0 {
					got[v.Node] = v.Reasons[0]
				}
			}
			if len(tc.want) == 0 && len(got) == 0 {
				return
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// What is preferred decides between nodes that are alike.
func TestPreferences(t *testing.T) {
	nodes := []any{node("a", zone("x")), node("b", zone("y"))}
	prefer := func(t corev1.PodAffinityTerm, anti bool) editPod {
		return func(p *corev1.Pod) {
			weighted := []corev1.WeightedPodAffinityTerm{{Weight: 100, PodAffinityTerm: t}}
			p.Spec.Affinity = &corev1.Affinity{}
			if anti {
				p.Spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: weighted}
			} else {
				p.Spec.Affinity.PodAffinity = &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: weighted}
			}
		}
	}
	anyway := func(c *corev1.TopologySpreadConstraint) { c.WhenUnsatisfiable = corev1.ScheduleAnyway }
	for name, tc := range map[string]struct {
		state []any
		pod   *corev1.Pod
		want  string
	}{
		"a pod that it is drawn to":     {[]any{pod("q", on("a"), label("app", "web"))}, pod("p", prefer(term("zone", matching("app", "web")), false)), "a"},
		"a pod that it keeps away from": {[]any{pod("q", on("a"), label("app", "web"))}, pod("p", prefer(term("zone", matching("app", "web")), true)), "b"},
		"a pod that is drawn to it":     {[]any{pod("q", on("b"), prefer(term("zone", matching("app", "web")), false))}, pod("p", label("app", "web")), "b"},
		"a pod that must be with it":    {[]any{pod("q", on("b"), label("x", "y"), attracted(term("zone", matching("app", "web"))))}, pod("p", label("app", "web")), "b"},
		"the emptier zone":              {[]any{pod("q", on("a"), label("foo", "bar"))}, pod("p", label("foo", "bar"), spread(1, "zone", anyway)), "b"},
		"the node with the image": {[]any{node("a", zone("x"), func(n *corev1.Node) {
			n.Status.Images = []corev1.ContainerImage{{Names: []string{"example.com/big:latest"}, SizeBytes: 2000 << 20}}
		})}, pod("p", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "example.com/big" }), "a"},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(8) {
				if got, failure := placement.Pick(tc.pod, built(append(slices.Clone(nodes), tc.state...)...), seed); got != tc.want {
					t.Errorf("Pick with seed %d = %q, %v, want %q", seed, got, failure, tc.want)
				}
			}
		})
	}
}

// A pod that names its node is asked of that one only, and told of the others as
// Kubernetes does.
func TestNamedNode(t *testing.T) {
	named := func(names ...string) editPod {
		return func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{
				{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: names}}},
			}}}}
		}
	}
	s := snapshot(node("a"), node("b"), node("c"), pod("q", on("b"), requests("4", "1Gi")))
	if got, failure := placement.Pick(pod("p", named("c")), s, 0); got != "c" {
		t.Errorf("Pick = %q, %v, want c", got, failure)
	}
	const want = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. " +
		"preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
	if _, failure := placement.Pick(pod("p", named("b"), requests("1", "1Gi")), s, 0); failure == nil || failure.Message() != want {
		t.Errorf("failure = %+v, want %q", failure, want)
	}
}

// Who has to leave: the least important, as few as will do, where budgets allow it.
func TestPreempt(t *testing.T) {
	at := func(minute int) editPod {
		return func(p *corev1.Pod) {
			p.Status.StartTime = &metav1.Time{Time: time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC)}
		}
	}
	cpu := func(n string) editPod { return requests(n, "1Mi") }
	leaving := func(p *corev1.Pod) {
		p.DeletionTimestamp = new(metav1.Now())
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler}}
	}
	two := []any{node("a"), node("b")}
	budget := []placement.Budget{{Namespace: "default", Selector: labels.SelectorFromSet(labels.Set{"app": "web"})}}
	for name, tc := range map[string]struct {
		state   []any
		pod     *corev1.Pod
		budgets []placement.Budget
		node    string
		victims []string
		message string
	}{
		"the least important": {
			[]any{pod("low", on("a"), cpu("3"), prioritised(1)), pod("lower", on("b"), cpu("3"), prioritised(0))},
			pod("p", cpu("3"), prioritised(5)), nil, "b",
			[]string{"lower"},
			"found a potential placement for pod on node b, preempting 1 victims",
		},
		"as few as will do": {
			[]any{pod("a1", on("a"), cpu("2")), pod("a2", on("a"), cpu("2")), pod("b1", on("b"), cpu("3"), prioritised(6))},
			pod("p", cpu("2"), prioritised(5)), nil, "a",
			[]string{"a2"},
			"found a potential placement for pod on node a, preempting 1 victims",
		},
		"the younger": {
			[]any{pod("old", on("a"), cpu("3"), at(1)), pod("young", on("b"), cpu("3"), at(2))},
			pod("p", cpu("3"), prioritised(5)), nil, "b",
			[]string{"young"},
			"found a potential placement for pod on node b, preempting 1 victims",
		},
		"where a budget allows it": {
			[]any{pod("web", on("a"), cpu("3"), label("app", "web")), pod("job", on("b"), cpu("3"), prioritised(3))},
			pod("p", cpu("3"), prioritised(5)), budget, "b",
			[]string{"job"},
			"found a potential placement for pod on node b, preempting 1 victims",
		},
		"against a budget if it must": {
			[]any{pod("web", on("a"), cpu("3"), label("app", "web")), pod("job", on("b"), cpu("3"), prioritised(6))},
			pod("p", cpu("3"), prioritised(5)), budget, "a",
			[]string{"web"},
			"found a potential placement for pod on node a, preempting 1 victims",
		},
		"nobody who is as important": {
			[]any{pod("x", on("a"), cpu("3"), prioritised(5)), pod("y", on("b"), cpu("3"), prioritised(5))},
			pod("p", cpu("3"), prioritised(5)), nil, "", nil, "0/2 nodes are available: 2 No preemption victims found for incoming pod.",
		},
		"it would not help": {
			[]any{pod("x", on("a"), cpu("1")), pod("y", on("b"), cpu("3"), prioritised(6)), pod("z", on("a"), cpu("3"), prioritised(6))},
			pod("p", cpu("3"), prioritised(5)), nil, "", nil, "0/2 nodes are available: 1 Insufficient cpu, 1 No preemption victims found for incoming pod.",
		},
		"never": {
			[]any{pod("x", on("a"), cpu("3")), pod("y", on("b"), cpu("3"))},
			pod("p", cpu("3"), prioritised(5), func(p *corev1.Pod) { p.Spec.PreemptionPolicy = new(corev1.PreemptNever) }), nil, "", nil, "not eligible due to preemptionPolicy=Never.",
		},
		"who leaves already": {
			[]any{pod("x", on("a"), cpu("3"), leaving), pod("y", on("b"), cpu("3"))},
			pod("p", cpu("3"), prioritised(5)), nil, "a", nil, "found a potential placement for pod on node a, preempting 0 victims",
		},
		"others leave for it already": {
			[]any{pod("x", on("a"), cpu("3"), leaving), pod("y", on("b"), cpu("3"))},
			pod("p", cpu("3"), prioritised(5), func(p *corev1.Pod) { p.Status.NominatedNodeName = "a" }), nil, "", nil, "not eligible due to a terminating pod on the nominated node.",
		},
		"a pod that keeps it away": {
			[]any{pod("x", on("a"), label("app", "web"), prioritised(0)), pod("y", on("b"), label("app", "web"), prioritised(9)), pod("z", on("a"), cpu("1"))},
			pod("p", cpu("1"), prioritised(5), repelled(term(corev1.LabelHostname, matching("app", "web")))), nil, "a",
			[]string{"x"},
			"found a potential placement for pod on node a, preempting 1 victims",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := built(append(slices.Clone(two), tc.state...)...)
			_, failure := placement.Pick(tc.pod, s, 0)
			if failure == nil {
				t.Fatal("it fits")
			}
			found := placement.Preempt(tc.pod, s, failure, tc.budgets, 0)
			var victims []string
			where := ""
			if found != nil {
				where = found.Node
				for _, v := range found.Victims {
					victims = append(victims, v.Name)
				}
			}
			if where != tc.node || !slices.Equal(victims, tc.victims) {
				t.Errorf("Preempt = %q %q, want %q %q", where, victims, tc.node, tc.victims)
			}
			if got, want := failure.Message(), ". preemption: "+tc.message; len(got) < len(want) || got[len(got)-len(want):] != want {
				t.Errorf("message = %q, want the end %q", got, want)
			}
		})
	}
}

// A node that is kept for a pod is full for those that are not more important.
func TestNominated(t *testing.T) {
	s := snapshot(node("a"))
	s.Nominate(pod("kept", requests("3", "1Mi"), prioritised(5)), "a")
	if got, failure := placement.Pick(pod("p", requests("2", "1Mi")), s, 0); failure == nil {
		t.Errorf("a less important pod gets %q", got)
	}
	if _, failure := placement.Pick(pod("p", requests("2", "1Mi"), prioritised(6)), s, 0); failure != nil {
		t.Errorf("a more important pod gets nothing: %s", failure.Message())
	}
	s.Assume(pod("kept", requests("3", "1Mi"), prioritised(5)), "a")
	s.RemovePod("kept")
	if _, failure := placement.Pick(pod("p", requests("2", "1Mi")), s, 0); failure != nil {
		t.Errorf("it is still kept: %s", failure.Message())
	}
}

// Of many nodes a part is compared, and every node can be the one that fits.
func TestManyNodes(t *testing.T) {
	s := placement.NewSnapshot()
	for i := range 400 {
		s.SetNode(node(fmt.Sprintf("n%03d", i), func(n *corev1.Node) {
			if i != 7 {
				n.Status.Allocatable[corev1.ResourceCPU] = resource.MustParse("1")
			}
		}))
	}
	for i := range 20 {
		if got, failure := placement.Pick(pod(fmt.Sprintf("p%d", i), requests("2", "1Mi")), s, 0); got != "n007" {
			t.Fatalf("Pick = %q, %v, want n007", got, failure)
		}
	}
	used := map[string]bool{}
	for i := range 400 {
		p := pod(fmt.Sprintf("q%d", i), requests("500m", "1Mi"))
		name, failure := placement.Pick(p, s, 0)
		if failure != nil {
			t.Fatal(failure.Message())
		}
		s.Assume(p, name)
		used[name] = true
	}
	if len(used) < 200 {
		t.Errorf("400 pods are on %d of 400 nodes", len(used))
	}
}

// What nodes have said is not believed any more after they have changed, however
// often.
func TestManyChanges(t *testing.T) {
	s := built(node("a"), node("b"))
	p := pod("p", requests("3", "1Mi"))
	fits := func(want string) {
		t.Helper()
		got, failure := placement.Pick(p, s, 0)
		if got != want {
			t.Fatalf("Pick = %q, %v; want %q", got, failure, want)
		}
	}
	big := func(on string) *corev1.Pod {
		return pod("big-"+on, requests("2", "1Mi"), func(p *corev1.Pod) { p.Spec.NodeName = on })
	}
	for _, times := range []int{1, 1000, 5000, 20000} {
		s.SetPod(big("a"))
		fits("b")
		s.SetPod(big("b"))
		fits("")
		for range times {
			s.SetPod(big("a"))
			s.RemovePod(big("a").UID)
		}
		fits("a")
		s.SetPod(big("a"))
		s.RemoveNode("b")
		fits("")
		s.RemovePod(big("b").UID)
		s.SetNode(node("b"))
		fits("b")
		s.RemovePod(big("a").UID)
	}
}

// Amounts of a pod as a whole, and what it costs besides its containers, take room.
func TestAmountsOfPods(t *testing.T) {
	list := func(n string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(n)}
	}
	own := func(n string) editPod {
		return func(p *corev1.Pod) { p.Spec.Resources = &corev1.ResourceRequirements{Requests: list(n)} }
	}
	cpu := func(n string) editPod {
		return func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = list(n) }
	}
	overhead := func(n string) editPod { return func(p *corev1.Pod) { p.Spec.Overhead = list(n) } }
	for name, test := range map[string]struct {
		there, pod *corev1.Pod
		fits       bool
	}{
		"the pod's own":               {pod("x", on("n"), cpu("1"), own("3")), pod("p", cpu("2")), false},
		"its containers ask for less": {pod("x", on("n"), cpu("1")), pod("p", cpu("2")), true},
		"of the new one":              {pod("x", on("n"), cpu("2")), pod("p", cpu("1"), own("3")), false},
		"overhead":                    {pod("x", on("n"), cpu("2"), overhead("1")), pod("p", cpu("2")), false},
		"beside the pod's own":        {pod("x", on("n"), cpu("1")), pod("p", own("2"), overhead("2")), false},
		"just enough":                 {pod("x", on("n"), cpu("1"), overhead("500m")), pod("p", own("2"), overhead("500m")), true},
	} {
		if _, failure := placement.Pick(test.pod, built(node("n"), test.there), 0); (failure == nil) != test.fits {
			t.Errorf("%s: %v, want fits = %t", name, failure, test.fits)
		}
	}
}
