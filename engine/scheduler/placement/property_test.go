package placement_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"headway.dev/engine/scheduler/placement"
)

// world is what a snapshot was told, to be told to another one.
type world struct {
	nodes      map[string]*corev1.Node
	pods       map[types.UID]*corev1.Pod
	namespaces map[string]map[string]string
	kept       *placement.Snapshot
	serial     int
}

func newWorld() *world {
	return &world{nodes: map[string]*corev1.Node{}, pods: map[types.UID]*corev1.Pod{}, namespaces: map[string]map[string]string{}, kept: placement.NewSnapshot()}
}

func (w *world) fresh() *placement.Snapshot {
	s := placement.NewSnapshot()
	for _, uid := range slices.Sorted(maps.Keys(w.pods)) {
		s.SetPod(w.pods[uid])
	}
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		s.SetNode(w.nodes[name])
	}
	for name, of := range w.namespaces {
		s.SetNamespace(name, of)
	}
	return s
}

func (w *world) bind(p *corev1.Pod, node string) {
	bound := p.DeepCopy()
	bound.Spec.NodeName = node
	w.pods[p.UID] = bound
	w.kept.Assume(p, node)
	// The binding's event brings the pod as it is stored.
	w.kept.SetPod(bound)
}

var (
	apps  = []string{"a", "b", "c"}
	zones = []string{"x", "y", "z", ""}
	keys  = []string{"zone", corev1.LabelHostname, "rack"}
)

func drawNode(t *rapid.T, name string) *corev1.Node {
	n := node(name, func(n *corev1.Node) {
		n.Labels["rack"] = rapid.SampledFrom([]string{"1", "2"}).Draw(t, "rack")
		if zone := rapid.SampledFrom(zones).Draw(t, "zone"); zone != "" {
			n.Labels["zone"] = zone
		}
		n.Spec.Unschedulable = rapid.IntRange(0, 9).Draw(t, "cordon") == 0
		n.Status.Allocatable[corev1.ResourceCPU] = *resource.NewQuantity(rapid.Int64Range(1, 6).Draw(t, "cpus"), resource.DecimalSI)
	})
	if rapid.IntRange(0, 5).Draw(t, "taint") == 0 {
		taint("v", rapid.SampledFrom([]corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule}).Draw(t, "effect"))(n)
	}
	return n
}

func drawSelector(t *rapid.T) *metav1.LabelSelector {
	switch rapid.IntRange(0, 5).Draw(t, "selector") {
	case 0:
		return &metav1.LabelSelector{}
	case 1:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{rapid.SampledFrom(apps).Draw(t, "not")}}}}
	default:
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": rapid.SampledFrom(apps).Draw(t, "app")}}
	}
}

func drawTerm(t *rapid.T) corev1.PodAffinityTerm {
	term := corev1.PodAffinityTerm{LabelSelector: drawSelector(t), TopologyKey: rapid.SampledFrom(keys).Draw(t, "key")}
	switch rapid.IntRange(0, 4).Draw(t, "namespaces") {
	case 0:
		term.Namespaces = []string{"one", "two"}
	case 1:
		term.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "t"}}
	case 2:
		term.NamespaceSelector = &metav1.LabelSelector{}
	}
	return term
}

func (w *world) drawPod(t *rapid.T) *corev1.Pod {
	w.serial++
	p := pod(fmt.Sprintf("p%d", w.serial), requests(fmt.Sprintf("%dm", rapid.SampledFrom([]int{0, 300, 1000, 1001, 2500}).Draw(t, "cpu")), "100Mi"))
	p.Namespace = rapid.SampledFrom([]string{"one", "two"}).Draw(t, "namespace")
	p.Labels = map[string]string{"app": rapid.SampledFrom(apps).Draw(t, "label")}
	p.Spec.Priority = new(int32(rapid.IntRange(0, 3).Draw(t, "priority")))
	if rapid.IntRange(0, 6).Draw(t, "port") == 0 {
		hostPort(80)(p)
	}
	if rapid.Bool().Draw(t, "owned") {
		p.OwnerReferences = []metav1.OwnerReference{{UID: types.UID(p.Labels["app"]), Controller: new(true)}}
	}
	p.Spec.Affinity = &corev1.Affinity{}
	switch rapid.IntRange(0, 8).Draw(t, "rule") {
	case 0:
		p.Spec.Affinity.PodAffinity = &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: rapid.SliceOfN(rapid.Custom(drawTerm), 1, 2).Draw(t, "terms")}
	case 1, 2:
		p.Spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: rapid.SliceOfN(rapid.Custom(drawTerm), 1, 2).Draw(t, "terms")}
	case 3, 4:
		c := corev1.TopologySpreadConstraint{MaxSkew: int32(rapid.IntRange(1, 2).Draw(t, "skew")), TopologyKey: rapid.SampledFrom(keys).Draw(t, "key"), WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: drawSelector(t)}
		if rapid.Bool().Draw(t, "honour taints") {
			c.NodeTaintsPolicy = new(corev1.NodeInclusionPolicyHonor)
		}
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{c}
	case 5:
		p.Spec.Affinity.PodAffinity = &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 10, PodAffinityTerm: drawTerm(t)}}}
	case 6:
		required("rack", "1")(p)
	}
	return p
}

// step changes the world: something comes, goes, or is another.
func (w *world) step(t *rapid.T) {
	name := fmt.Sprintf("n%d", rapid.IntRange(0, 5).Draw(t, "node"))
	switch rapid.IntRange(0, 9).Draw(t, "step") {
	case 0, 1:
		w.nodes[name] = drawNode(t, name)
		w.kept.SetNode(w.nodes[name])
	case 2:
		delete(w.nodes, name)
		w.kept.RemoveNode(name)
	case 3:
		if len(w.pods) > 0 {
			uid := rapid.SampledFrom(slices.Sorted(maps.Keys(w.pods))).Draw(t, "gone")
			delete(w.pods, uid)
			w.kept.RemovePod(uid)
		}
	case 4:
		if len(w.pods) > 0 {
			p := w.pods[rapid.SampledFrom(slices.Sorted(maps.Keys(w.pods))).Draw(t, "leaves")].DeepCopy()
			p.DeletionTimestamp = new(metav1.Now())
			w.pods[p.UID] = p
			w.kept.SetPod(p)
		}
	case 5:
		ns, of := rapid.SampledFrom([]string{"one", "two"}).Draw(t, "ns"), map[string]string{"team": rapid.SampledFrom([]string{"t", "u"}).Draw(t, "team")}
		w.namespaces[ns] = of
		w.kept.SetNamespace(ns, of)
	default:
		p := w.drawPod(t)
		if to, failure := placement.Pick(p, w.kept, 1); failure == nil {
			w.bind(p, to)
		}
	}
}

// Whatever comes and goes, the kept snapshot answers as one that is made afresh
// does, and with the same seed the same; no node is given more than it has, and no
// required rule is broken by a choice, as a plain reading of the rules finds.
func TestKeptSnapshotEqualsFresh(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			w.step(t)
		}
		for range 3 {
			p := w.drawPod(t)
			fresh := w.fresh()
			if d := cmp.Diff(placement.Explain(p, fresh), placement.Explain(p, w.kept)); d != "" {
				t.Fatalf("(-fresh +kept):\n%s", d)
			}
			for _, v := range placement.Explain(p, w.kept) {
				if want := w.allows(p, w.nodes[v.Node]); want != (len(v.Reasons) == 0) {
					t.Fatalf("%s says %q, but a plain reading says %v\nfor %+v", v.Node, v.Reasons, want, p.Spec)
				}
			}
			for seed := range uint64(3) {
				a, failure := placement.Pick(p, fresh, seed)
				b, kept := placement.Pick(p, w.kept, seed)
				if failure != nil && kept != nil && failure.Message() != kept.Message() {
					t.Fatalf("fresh %s; kept %s", failure.Message(), kept.Message())
				}
				c, _ := placement.Pick(p, w.kept, seed)
				if a != b || b != c {
					t.Fatalf("fresh %q, kept %q, and again %q", a, b, c)
				}
				if fits := slices.ContainsFunc(placement.Explain(p, fresh), func(v placement.Verdict) bool { return len(v.Reasons) == 0 }); fits != (failure == nil) {
					t.Fatalf("Pick = %q, and Explain says %v", a, fits)
				}
			}
		}
	})
}

// Nobody has to leave for a pod that fits, or that does not fit afterwards; each of
// those who leave is less important, and is in the way.
func TestPreemptionEvictsNobodyForNothing(t *testing.T) {
	preempted := 0
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		for i := range 4 {
			name := fmt.Sprintf("n%d", i)
			w.nodes[name] = drawNode(t, name)
			w.kept.SetNode(w.nodes[name])
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			w.step(t)
		}
		p := w.drawPod(t)
		p.Spec.Priority = new(int32(rapid.IntRange(1, 4).Draw(t, "important")))
		_, failure := placement.Pick(p, w.kept, 1)
		if failure == nil {
			return
		}
		before := placement.Explain(p, w.kept)
		budgets := []placement.Budget{{Namespace: "one", Selector: labels.SelectorFromSet(labels.Set{"app": "a"}), Allowed: 1}}
		found := placement.Preempt(p, w.kept, failure, budgets, 1)
		if d := cmp.Diff(before, placement.Explain(p, w.kept)); d != "" {
			t.Fatalf("Preempt changed the snapshot:\n%s", d)
		}
		if d := cmp.Diff(placement.Explain(p, w.fresh()), placement.Explain(p, w.kept)); d != "" {
			t.Fatalf("Preempt spoilt the snapshot (-fresh +kept):\n%s", d)
		}
		fresh := w.fresh()
		_, unkept := placement.Pick(p, fresh, 1)
		again := placement.Preempt(p, fresh, unkept, budgets, 1)
		if d := cmp.Diff(again, found, cmpopts.IgnoreUnexported(placement.Preemption{})); d != "" || unkept.Message() != failure.Message() {
			t.Fatalf("%s; fresh %s\n(-fresh +kept):\n%s", failure.Message(), unkept.Message(), d)
		}
		if found == nil {
			return
		}
		preempted++
		without := func(spared *corev1.Pod) bool {
			s := w.fresh()
			for _, q := range w.pods {
				if q.Spec.NodeName == found.Node && q.DeletionTimestamp != nil && *q.Spec.Priority < *p.Spec.Priority {
					s.RemovePod(q.UID) // it leaves anyway
				}
			}
			for _, v := range found.Victims {
				if v != spared {
					s.RemovePod(v.UID)
				}
			}
			return placement.Fits(p, s, found.Node)
		}
		if !without(nil) {
			t.Fatalf("it does not fit on %s afterwards", found.Node)
		}
		for _, v := range found.Victims {
			if *v.Spec.Priority >= *p.Spec.Priority || v.DeletionTimestamp != nil {
				t.Fatalf("the victim %s has priority %d, deleted at %v", v.Name, *v.Spec.Priority, v.DeletionTimestamp)
			}
			if without(v) {
				t.Fatalf("%s need not leave", v.Name)
			}
		}
	})
	if preempted == 0 {
		t.Error("nobody ever had to leave: the test shows nothing")
	}
}

// allows reads the rules for one node as they are written, by looking at all pods.
func (w *world) allows(p *corev1.Pod, n *corev1.Node) bool {
	if n.Spec.Unschedulable || slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoSchedule }) {
		return false
	}
	if a := p.Spec.Affinity.NodeAffinity; a != nil && n.Labels["rack"] != "1" {
		return false
	}
	cpu, count := p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue(), 1
	for _, q := range w.pods {
		if q.Spec.NodeName != n.Name {
			continue
		}
		cpu += q.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
		count++
		if len(p.Spec.Containers[0].Ports) > 0 && len(q.Spec.Containers[0].Ports) > 0 {
			return false
		}
	}
	if asked := p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue(); asked > 0 && cpu > n.Status.Allocatable.Cpu().MilliValue() || count > 5 {
		return false
	}
	return w.spreads(p, n) && w.agrees(p, n)
}

func (w *world) spreads(p *corev1.Pod, n *corev1.Node) bool {
	for _, c := range p.Spec.TopologySpreadConstraints {
		selector, _ := metav1.LabelSelectorAsSelector(c.LabelSelector)
		value, ok := n.Labels[c.TopologyKey]
		if !ok {
			return false
		}
		counts := map[string]int{}
		for _, m := range w.nodes {
			v, has := m.Labels[c.TopologyKey]
			tainted := slices.ContainsFunc(m.Spec.Taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoSchedule })
			if !has || p.Spec.Affinity.NodeAffinity != nil && m.Labels["rack"] != "1" || c.NodeTaintsPolicy != nil && tainted {
				continue
			}
			counts[v] += 0
			for _, q := range w.pods {
				if q.Spec.NodeName == m.Name && q.Namespace == p.Namespace && q.DeletionTimestamp == nil && !selector.Empty() && selector.Matches(labels.Set(q.Labels)) {
					counts[v]++
				}
			}
		}
		least := 0
		if len(counts) > 0 {
			least = slices.Min(slices.Collect(maps.Values(counts)))
		}
		self := 0
		if selector.Matches(labels.Set(p.Labels)) {
			self = 1
		}
		if counts[value]+self-least > int(c.MaxSkew) {
			return false
		}
	}
	return true
}

func (w *world) about(term corev1.PodAffinityTerm, of, other *corev1.Pod) bool {
	within := slices.Contains(term.Namespaces, other.Namespace)
	if term.NamespaceSelector != nil {
		selector, _ := metav1.LabelSelectorAsSelector(term.NamespaceSelector)
		within = within || selector.Matches(labels.Set(w.namespaces[other.Namespace]))
	} else if len(term.Namespaces) == 0 {
		within = of.Namespace == other.Namespace
	}
	selector, _ := metav1.LabelSelectorAsSelector(term.LabelSelector)
	return within && selector.Matches(labels.Set(other.Labels))
}

// agrees is affinity and anti-affinity, in both directions.
func (w *world) agrees(p *corev1.Pod, n *corev1.Node) bool {
	together := func(key string, q *corev1.Pod) bool {
		m := w.nodes[q.Spec.NodeName]
		if m == nil {
			return false
		}
		here, ok := n.Labels[key]
		there, has := m.Labels[key]
		return ok && has && here == there
	}
	if a := p.Spec.Affinity.PodAffinity; a != nil && len(a.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
		terms := a.RequiredDuringSchedulingIgnoredDuringExecution
		all := func(q *corev1.Pod) bool {
			return !slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return !w.about(t, p, q) })
		}
		first, met := all(p), true
		for _, t := range terms {
			if _, ok := n.Labels[t.TopologyKey]; !ok {
				return false
			}
			here := false
			for _, q := range w.pods {
				m := w.nodes[q.Spec.NodeName]
				if m == nil || !all(q) {
					continue
				}
				if _, ok := m.Labels[t.TopologyKey]; ok {
					first = false
				}
				here = here || together(t.TopologyKey, q)
			}
			met = met && here
		}
		if !met && !first {
			return false
		}
	}
	for _, q := range w.pods {
		if a := p.Spec.Affinity.PodAntiAffinity; a != nil {
			for _, t := range a.RequiredDuringSchedulingIgnoredDuringExecution {
				if w.about(t, p, q) && together(t.TopologyKey, q) {
					return false
				}
			}
		}
		if a := q.Spec.Affinity.PodAntiAffinity; a != nil {
			for _, t := range a.RequiredDuringSchedulingIgnoredDuringExecution {
				if w.about(t, q, p) && together(t.TopologyKey, q) {
					return false
				}
			}
		}
	}
	return true
}
