package daemonset

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Pods are written NODE HASH STATE...: "a new ready", where a state is ready, failed,
// succeeded, deleted, unbound or young (ready, but not for long).
func pods(lines ...string) []*corev1.Pod {
	var list []*corev1.Pod
	for i, line := range lines {
		words := strings.Fields(line)
		pod := newPod(&appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "log"}}, words[1], words[0])
		pod.Name = fmt.Sprintf("%s%d", words[0], i)
		pod.CreationTimestamp = metav1.NewTime(now.Add(time.Duration(i-100) * time.Minute))
		pod.Spec.NodeName = words[0]
		for _, state := range words[2:] {
			switch state {
			case "ready", "young":
				since := now.Add(-time.Hour)
				if state == "young" {
					since = now.Add(-time.Second)
				}
				pod.Status.Phase = corev1.PodRunning
				pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(since)}}
			case "failed":
				pod.Status.Phase = corev1.PodFailed
			case "succeeded":
				pod.Status.Phase = corev1.PodSucceeded
			case "deleted":
				pod.DeletionTimestamp = &metav1.Time{Time: now}
			case "unbound":
				pod.Spec.NodeName = ""
			}
		}
		list = append(list, pod)
	}
	return list
}

func nodes(names string) map[string]Verdict {
	all := map[string]Verdict{}
	for name := range strings.FieldsSeq(names) {
		name, kind, _ := strings.Cut(name, ":")
		all[name] = Verdict{Run: kind == "", Stay: kind != "never"}
	}
	return all
}

func strategy(unavailable, surge intstr.IntOrString) appsv1.DaemonSetUpdateStrategy {
	return appsv1.DaemonSetUpdateStrategy{
		Type:          appsv1.RollingUpdateDaemonSetStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &unavailable, MaxSurge: &surge},
	}
}

// TestDecide: the cases are those of Kubernetes' documentation of DaemonSets and of the
// fields' own.
func TestDecide(t *testing.T) {
	number, share := intstr.FromInt32, intstr.FromString
	one := strategy(number(1), number(0))
	for name, tc := range map[string]struct {
		nodes    string
		pods     []string
		strategy appsv1.DaemonSetUpdateStrategy
		ready    int32
		backoff  time.Duration
		want     string
	}{
		"a node without a pod":                     {nodes: "a b", pods: []string{"a new ready"}, want: "create b"},
		"all is well":                              {nodes: "a b", pods: []string{"a new ready", "b new"}},
		"a node that is for none":                  {nodes: "a b:never", pods: []string{"a new", "b new ready"}, want: "delete b1"},
		"a node that takes no new ones":            {nodes: "a:stay b:stay", pods: []string{"a new ready"}},
		"a pod that goes already":                  {nodes: "a:never", pods: []string{"a new deleted"}},
		"a pod that goes keeps its place":          {nodes: "a", pods: []string{"a new deleted"}},
		"a pod that goes and has ended":            {nodes: "a", pods: []string{"a new deleted failed"}, want: "create a"},
		"a failed pod":                             {nodes: "a", pods: []string{"a new failed"}, want: "delete a0, event FailedDaemonPod"},
		"a failed pod, too early":                  {nodes: "a", pods: []string{"a new failed"}, backoff: 3 * time.Second, want: "after 3s"},
		"a pod that has succeeded":                 {nodes: "a", pods: []string{"a new succeeded"}, want: "delete a0, event SucceededDaemonPod"},
		"two pods, the older stays":                {nodes: "a", pods: []string{"a new", "a new ready"}, want: "delete a1"},
		"two pods, the bound one stays":            {nodes: "a", pods: []string{"a new unbound", "a new"}, want: "delete a0"},
		"a pod for a node that is gone":            {nodes: "a", pods: []string{"a new", "b new unbound"}, want: "delete b1"},
		"a pod on a node that is gone":             {nodes: "a", pods: []string{"a new", "b new"}},
		"on delete":                                {nodes: "a", pods: []string{"a old ready"}, strategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}},
		"rolls one":                                {nodes: "a b c", pods: []string{"a old ready", "b old ready", "c old ready"}, want: "delete a0"},
		"rolls two":                                {nodes: "a b c", pods: []string{"a old ready", "b old ready", "c old ready"}, strategy: strategy(number(2), number(0)), want: "delete a0 b1"},
		"rolls a share, rounded up":                {nodes: "a b c", pods: []string{"a old ready", "b old ready", "c old ready"}, strategy: strategy(share("34%"), number(0)), want: "delete a0 b1"},
		"neither more nor fewer":                   {nodes: "a b", pods: []string{"a old ready", "b old ready"}, strategy: strategy(number(0), number(0)), want: "delete a0"},
		"waits for the new one":                    {nodes: "a b", pods: []string{"a new", "b old ready"}},
		"waits until it is available":              {nodes: "a b", pods: []string{"a new young", "b old ready"}, ready: 5, want: "after 4s"},
		"goes on once it is available":             {nodes: "a b", pods: []string{"a new young", "b old ready"}, ready: 1, want: "delete b1"},
		"waits for one that goes":                  {nodes: "a b", pods: []string{"a old deleted ready", "b old ready"}},
		"broken old ones first":                    {nodes: "a b c", pods: []string{"a old ready", "b old", "c old ready"}, want: "delete b1"},
		"all broken old ones":                      {nodes: "a b c", pods: []string{"a old", "b old", "c old ready"}, want: "delete a0 b1"},
		"an old one where new ones may not be":     {nodes: "a:stay b", pods: []string{"a old ready", "b new ready"}, want: "delete a0"},
		"surges one":                               {nodes: "a b", pods: []string{"a old ready", "b old ready"}, strategy: strategy(number(0), number(1)), want: "create a"},
		"surges half":                              {nodes: "a b c", pods: []string{"a old ready", "b old ready", "c old ready"}, strategy: strategy(number(0), share("50%")), want: "create a b"},
		"surges while one is not available":        {nodes: "a b", pods: []string{"a old ready", "a new", "b old ready"}, strategy: strategy(number(0), number(1))},
		"ends a surge":                             {nodes: "a b", pods: []string{"a old ready", "a new ready", "b old ready"}, strategy: strategy(number(0), number(1)), want: "delete a0"},
		"ends a surge whose old pod is not ready":  {nodes: "a", pods: []string{"a old", "a new"}, strategy: strategy(number(0), number(1)), want: "delete a0"},
		"surges at once where the old is broken":   {nodes: "a b c", pods: []string{"a old", "b old", "c old ready"}, strategy: strategy(number(0), number(1)), want: "create a b c"},
		"surges, three on a node":                  {nodes: "a", pods: []string{"a old ready", "a new", "a new"}, strategy: strategy(number(0), number(1)), want: "delete a2"},
		"surges, a node that takes no new ones":    {nodes: "a:stay b", pods: []string{"a old ready", "b new ready"}, strategy: strategy(number(0), number(1)), want: "delete a0"},
		"surges, that node until there are enough": {nodes: "a:stay b", pods: []string{"a old ready", "b new"}, strategy: strategy(number(0), number(1))},
		"surges, a broken one on that node":        {nodes: "a:stay b", pods: []string{"a old", "b new"}, strategy: strategy(number(0), number(1)), want: "delete a0"},
		"creates before it rolls":                  {nodes: "a b", pods: []string{"a old ready"}, want: "create b"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.strategy.Type == "" {
				tc.strategy = one
			}
			in := input(tc.nodes, tc.strategy, pods(tc.pods...))
			in.Set.Spec.MinReadySeconds = tc.ready
			in.Backoff = func(string) time.Duration { return tc.backoff }
			if got := words(Decide(in)); got != tc.want {
				t.Errorf("Decide = %q, want %q", got, tc.want)
			}
		})
	}
}

// TestManyFailed: of more failed pods than one transaction takes, only those that are
// deleted are told of and counted as failures, which those that wait would be again.
func TestManyFailed(t *testing.T) {
	var names, lines []string
	for i := range 2*burst - 100 {
		names = append(names, fmt.Sprintf("n%03d", i))
		lines = append(lines, names[i]+" new failed")
	}
	in := input(strings.Join(names, " "), strategy(intstr.FromInt32(1), intstr.FromInt32(0)), pods(lines...))
	for _, want := range []int{burst, burst - 100, 0} {
		plan := Decide(in)
		if len(plan.Delete) != want || len(plan.Failed) != want || len(plan.Events) != want {
			t.Fatalf("%d are deleted, %d counted and %d told of, want %d", len(plan.Delete), len(plan.Failed), len(plan.Events), want)
		}
		for i, pod := range plan.Delete {
			if plan.Failed[i] != nodeOf(pod) {
				t.Fatalf("a failure is counted on %s for a pod of %s", plan.Failed[i], nodeOf(pod))
			}
			pod.DeletionTimestamp = &metav1.Time{Time: now}
		}
	}
}

func input(names string, s appsv1.DaemonSetUpdateStrategy, pods []*corev1.Pod) Input {
	return Input{
		Set:   &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "log", Generation: 4}, Spec: appsv1.DaemonSetSpec{UpdateStrategy: s}},
		Nodes: nodes(names), Pods: pods, Hash: "new", Hashes: map[string]bool{"new": true}, Backoff: func(string) time.Duration { return 0 }, Now: now,
	}
}

func words(p Plan) string {
	var parts []string
	if len(p.Create) > 0 {
		parts = append(parts, "create "+strings.Join(p.Create, " "))
	}
	var deleted []string
	for _, pod := range p.Delete {
		deleted = append(deleted, pod.Name)
	}
	if len(deleted) > 0 {
		parts = append(parts, "delete "+strings.Join(deleted, " "))
	}
	for _, e := range p.Events {
		parts = append(parts, "event "+e.Reason)
	}
	if p.After > 0 {
		parts = append(parts, fmt.Sprintf("after %s", p.After))
	}
	return strings.Join(parts, ", ")
}

func TestStatusOf(t *testing.T) {
	in := input("a b c d:stay e:never", strategy(intstr.FromInt32(1), intstr.FromInt32(0)),
		pods("a new ready", "b old young", "b new", "d old ready", "e new", "gone new"))
	in.Set.Spec.MinReadySeconds, in.Set.Status.CollisionCount = 10, new(int32(2))
	want := appsv1.DaemonSetStatus{
		ObservedGeneration: 4, CollisionCount: new(int32(2)), DesiredNumberScheduled: 3, CurrentNumberScheduled: 2, NumberMisscheduled: 2,
		NumberReady: 2, UpdatedNumberScheduled: 1, NumberAvailable: 1, NumberUnavailable: 2,
	}
	if diff := cmp.Diff(want, StatusOf(in, nil)); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	want.CurrentNumberScheduled, want.UpdatedNumberScheduled = 3, 2
	if diff := cmp.Diff(want, StatusOf(in, []string{"c"})); diff != "" {
		t.Errorf("status with a pod that is created with it (-want +got):\n%s", diff)
	}
}

// TestRollsWithinBounds: whatever fails or takes its time, a rolling update never makes
// more pods unavailable than it may, nor more surplus ones, and it ends.
func TestRollsWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := strings.Fields("a b c d e f")[:rapid.IntRange(1, 6).Draw(t, "nodes")]
		bound := rapid.IntRange(1, len(names)).Draw(t, "bound")
		surges := rapid.Bool().Draw(t, "surges")
		s := strategy(intstr.FromInt(bound), intstr.FromInt32(0))
		if surges {
			s = strategy(intstr.FromInt32(0), intstr.FromInt(bound))
		}
		var all []*corev1.Pod
		for _, n := range names {
			all = append(all, pods(n+" old ready")...)
		}
		for step := 0; ; step++ {
			if step > 1000 {
				t.Fatalf("the update does not end: %v", all)
			}
			in := input(strings.Join(names, " "), s, all)
			plan := Decide(in)
			for _, node := range plan.Create {
				all = append(all, pods(node+" new")...)
				all[len(all)-1].Name = fmt.Sprintf("%s-%d", node, step)
				all[len(all)-1].CreationTimestamp = metav1.NewTime(now.Add(time.Duration(step) * time.Second))
			}
			for _, pod := range plan.Delete {
				pod.DeletionTimestamp = &metav1.Time{Time: now}
			}
			served, most := map[string]bool{}, 0
			for _, pod := range all {
				if pod.DeletionTimestamp == nil && (&decision{Input: in}).available(pod) {
					served[pod.Spec.NodeName] = true
				}
				if pod.DeletionTimestamp == nil {
					most++
				}
			}
			if lost := len(names) - len(served); surges && lost > 0 || lost > bound {
				t.Fatalf("%d nodes are without an available pod", lost)
			}
			if surges && most > len(names)+bound {
				t.Fatalf("%d pods run on %d nodes", most, len(names))
			}
			if len(plan.Create)+len(plan.Delete) == 0 && !slices.ContainsFunc(all, func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil || !(&decision{Input: in}).available(p) }) {
				break
			}
			// Something moves on: a pod is gone, or has become ready.
			i := rapid.IntRange(0, len(all)-1).Draw(t, "moves")
			switch {
			case all[i].DeletionTimestamp != nil:
				all = slices.Delete(all, i, i+1)
			case len(all[i].Status.Conditions) == 0:
				all[i].Status = pods("x new ready")[0].Status
			}
		}
		for _, pod := range all {
			if pod.Labels[appsv1.ControllerRevisionHashLabelKey] != "new" || len(all) != len(names) {
				t.Fatalf("%d pods are left on %d nodes, one of them %s of %v", len(all), len(names), pod.Name, pod.Labels)
			}
		}
	})
}

func TestJudge(t *testing.T) {
	taint := func(key string, effect corev1.TaintEffect) corev1.Taint {
		return corev1.Taint{Key: key, Effect: effect}
	}
	required := func(req ...corev1.NodeSelectorRequirement) *corev1.Affinity {
		return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: req}},
		}}}
	}
	yes, stay, no := Verdict{true, true}, Verdict{false, true}, Verdict{}
	for name, tc := range map[string]struct {
		spec   corev1.PodSpec
		taints []corev1.Taint
		want   Verdict
	}{
		"any node":           {want: yes},
		"its name":           {spec: corev1.PodSpec{NodeName: "a"}, want: yes},
		"another name":       {spec: corev1.PodSpec{NodeName: "b"}, want: no},
		"node selector":      {spec: corev1.PodSpec{NodeSelector: map[string]string{"disk": "ssd"}}, want: yes},
		"other selector":     {spec: corev1.PodSpec{NodeSelector: map[string]string{"disk": "hdd"}}, want: no},
		"affinity":           {spec: corev1.PodSpec{Affinity: required(corev1.NodeSelectorRequirement{Key: "disk", Operator: corev1.NodeSelectorOpExists})}, want: yes},
		"other affinity":     {spec: corev1.PodSpec{Affinity: required(corev1.NodeSelectorRequirement{Key: "disk", Operator: corev1.NodeSelectorOpDoesNotExist})}, want: no},
		"no schedule":        {taints: []corev1.Taint{taint("gpu", corev1.TaintEffectNoSchedule)}, want: stay},
		"prefer no schedule": {taints: []corev1.Taint{taint("gpu", corev1.TaintEffectPreferNoSchedule)}, want: yes},
		"no execute":         {taints: []corev1.Taint{taint("gpu", corev1.TaintEffectNoExecute)}, want: no},
		"tolerated":          {spec: corev1.PodSpec{Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}}, taints: []corev1.Taint{taint("gpu", corev1.TaintEffectNoExecute)}, want: yes},
		"troubles of a node": {taints: []corev1.Taint{
			taint(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute), taint(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute),
			taint(corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule), taint(corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule),
			taint(corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule), taint(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule),
		}, want: yes},
		"not ready for new ones":    {taints: []corev1.Taint{taint(corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule)}, want: stay},
		"no network":                {taints: []corev1.Taint{taint(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)}, want: stay},
		"no network, host network":  {spec: corev1.PodSpec{HostNetwork: true}, taints: []corev1.Taint{taint(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)}, want: yes},
		"both kinds of other taint": {taints: []corev1.Taint{taint("x", corev1.TaintEffectNoSchedule), taint("y", corev1.TaintEffectNoExecute)}, want: no},
	} {
		t.Run(name, func(t *testing.T) {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"disk": "ssd"}}, Spec: corev1.NodeSpec{Taints: tc.taints}}
			ds := &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{Template: corev1.PodTemplateSpec{Spec: tc.spec}}}
			if got := newMatcher(ds).judge(node); got != tc.want {
				t.Errorf("judge = %+v, want %+v", got, tc.want)
			}
		})
	}
}

// TestNewPod: the pod is of its node alone, whatever the template asks for besides.
func TestNewPod(t *testing.T) {
	ds := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("x", 70), Namespace: "shop", UID: "u", Annotations: map[string]string{appsv1.DeprecatedTemplateGeneration: "3"}},
		Spec: appsv1.DaemonSetSpec{Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "log"}, Finalizers: []string{"a/b"}},
			Spec: corev1.PodSpec{
				Tolerations: []corev1.Toleration{{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(3))}},
				Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
					RequiredDuringSchedulingIgnoredDuringExecution:  &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{}, {}}},
					PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 1}},
				}},
			},
		}},
	}
	pod := newPod(ds, "abc", "n1")
	if want := map[string]string{"app": "log", "controller-revision-hash": "abc", "pod-template-generation": "3"}; !cmp.Equal(pod.Labels, want) {
		t.Errorf("labels = %v, want %v", pod.Labels, want)
	}
	if len(pod.Name) != 63 || pod.Finalizers[0] != "a/b" || !metav1.IsControlledBy(pod, ds) || pod.Namespace != "shop" {
		t.Errorf("metadata = %+v", pod.ObjectMeta)
	}
	affinity := pod.Spec.Affinity.NodeAffinity
	want := []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"n1"}}}}}
	if got := affinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms; !cmp.Equal(got, want) || len(affinity.PreferredDuringSchedulingIgnoredDuringExecution) != 1 {
		t.Errorf("affinity = %+v", affinity)
	}
	if nodeOf(pod) != "n1" || len(pod.Spec.Tolerations) != 6 || pod.Spec.Tolerations[0].TolerationSeconds != nil {
		t.Errorf("node = %s, tolerations = %+v", nodeOf(pod), pod.Spec.Tolerations)
	}
	if len(ds.Spec.Template.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms) != 2 {
		t.Error("the template has changed")
	}
}

// TestNamesOfPods: wherever a set's name is cut off, the names of its pods are valid.
func TestNamesOfPods(t *testing.T) {
	for length := 2; length <= 100; length++ {
		for _, name := range []string{strings.Repeat("a", length), strings.Repeat("a.", length)[:length-1] + "a", strings.Repeat("a.", length)[1:length-1] + "a"} {
			ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: strings.TrimLeft(name, ".")}}
			got := newPod(ds, "abc", "n1").Name
			if wrong := validation.IsDNS1123Subdomain(got); len(wrong) > 0 || len(got) > validation.DNS1123LabelMaxLength {
				t.Errorf("a pod of %s is %s (%d characters): %v", ds.Name, got, len(got), wrong)
			}
		}
	}
}
