package podautoscaler_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"headway.dev/engine/controllers/podautoscaler"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// pod has run for an hour, is ready, and requests a CPU.
func pod(i int, edits ...func(*corev1.Pod)) *corev1.Pod {
	long := metav1.NewTime(now.Add(-time.Hour))
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p", i)},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
		}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &long, Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: long},
		}},
	}
	for _, e := range edits {
		e(p)
	}
	return p
}

func pending(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }
func failed(p *corev1.Pod)  { p.Status.Phase = corev1.PodFailed }
func leaving(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: now} }
func unready(p *corev1.Pod) {
	p.Status.Conditions[0].Status, p.Status.Conditions[0].LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(now.Add(-20*time.Second))
}
func unasked(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = nil }
func neverReady(p *corev1.Pod) {
	unready(p)
	p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(p.Status.StartTime.Add(10 * time.Second))
}

// young has started a minute ago and has been ready for some seconds.
func young(ready time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.StartTime = &metav1.Time{Time: now.Add(-time.Minute)}
		p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-ready))
	}
}

func pods(edits ...[]func(*corev1.Pod)) []*corev1.Pod {
	var list []*corev1.Pod
	for i, e := range edits {
		list = append(list, pod(i, e...))
	}
	return list
}

type edits = []func(*corev1.Pod)

// values are figures of p0, p1, …; a negative one is not known.
func values(milli ...int64) map[string]podautoscaler.PodMetric {
	metrics := map[string]podautoscaler.PodMetric{}
	for i, v := range milli {
		if v >= 0 {
			metrics[fmt.Sprint("p", i)] = podautoscaler.PodMetric{At: now, Window: 30 * time.Second, Value: v}
		}
	}
	return metrics
}

// The rules of
// https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details.
func TestUtilization(t *testing.T) {
	three := pods(nil, nil, nil)
	for name, c := range map[string]struct {
		pods    []*corev1.Pod
		metrics []int64
		target  int32
		want    int32
		percent int32
		err     string
	}{
		"doubles":                                 {three, []int64{1000, 1000, 1000}, 50, 6, 100, ""},
		"halves":                                  {pods(nil, nil, nil, nil), []int64{250, 250, 250, 250}, 50, 2, 25, ""},
		"rounds up":                               {three, []int64{600, 600, 600}, 50, 4, 60, ""},
		"within the tolerance above":              {three, []int64{550, 550, 550}, 50, 3, 55, ""},
		"within the tolerance below":              {three, []int64{450, 450, 450}, 50, 3, 45, ""},
		"a missing pod grows less":                {three, []int64{1000, 1000, -1}, 50, 4, 100, ""},
		"a missing pod shrinks less":              {three, []int64{100, 100, -1}, 50, 3, 10, ""},
		"a missing pod uses what is aimed at":     {three, []int64{100, 100, -1}, 200, 2, 10, ""},
		"a missing pod keeps the direction":       {three, []int64{600, 600, -1}, 50, 3, 60, ""},
		"a pending pod grows less":                {pods(nil, nil, edits{pending}), []int64{1000, 1000, -1}, 50, 4, 100, ""},
		"a pending pod does not keep from less":   {pods(nil, nil, edits{pending}), []int64{100, 100, -1}, 50, 1, 10, ""},
		"a failed pod is not there":               {pods(nil, nil, edits{failed}), []int64{500, 500, 9000}, 50, 3, 50, ""},
		"a leaving pod is not there":              {pods(nil, nil, edits{leaving}), []int64{1000, 1000, 9000}, 50, 4, 100, ""},
		"the CPU of a start does not count":       {pods(nil, nil, edits{young(10 * time.Second)}), []int64{500, 500, 9000}, 50, 3, 50, ""},
		"the CPU after a start counts":            {pods(nil, nil, edits{young(40 * time.Second)}), []int64{500, 500, 2000}, 50, 6, 100, ""},
		"unready in the beginning does not count": {pods(nil, nil, edits{young(40 * time.Second), unready}), []int64{1000, 1000, 9000}, 50, 4, 100, ""},
		"unready later counts":                    {pods(nil, nil, edits{unready}), []int64{1000, 1000, 1000}, 50, 6, 100, ""},
		"never ready does not count":              {pods(nil, nil, edits{neverReady}), []int64{1000, 1000, 9000}, 50, 4, 100, ""},
		"uses a million times what it requests":   {pods(nil), []int64{1 << 50}, 50, 42949673, math.MaxInt32, ""},
		"uses more than can be multiplied":        {pods(nil), []int64{1 << 62}, 50, 42949673, math.MaxInt32, ""},
		"no request":                              {pods(nil, edits{unasked}), []int64{1, 1}, 50, 0, 0, "missing request for cpu in container main of Pod p1"},
		"no pods":                                 {nil, []int64{1}, 50, 0, 0, "no pods returned by selector while calculating replica count"},
		"no figures":                              {three, nil, 50, 0, 0, "did not receive metrics for targeted pods (pods might be unready)"},
	} {
		t.Run(name, func(t *testing.T) {
			calc := podautoscaler.Calculator{Replicas: int32(len(c.pods)), Present: int32(len(c.pods)), Pods: c.pods, Tolerances: podautoscaler.Tolerances{Up: .1, Down: .1}, Now: now}
			got, percent, _, err := calc.Utilization(values(c.metrics...), corev1.ResourceCPU, "", c.target)
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Fatalf("%v, want %s", err, c.err)
				}
				return
			}
			if err != nil || got != c.want || percent != c.percent {
				t.Errorf("%d at %d%%, %v, want %d at %d%%", got, percent, err, c.want, c.percent)
			}
		})
	}
}

// Containers, sidecars and pods have requests of their own.
func TestRequests(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	asks := func(name, cpu string) corev1.Container {
		return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}
	}
	sidecar := asks("sidecar", "2")
	sidecar.RestartPolicy = &always
	p := pod(0, func(p *corev1.Pod) {
		p.Spec.Containers = []corev1.Container{asks("main", "1"), asks("other", "1")}
		p.Spec.InitContainers = []corev1.Container{sidecar, asks("init", "100")}
	})
	whole := pod(0, func(p *corev1.Pod) {
		p.Spec.Containers = []corev1.Container{{Name: "main"}}
		p.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8")}}
	})
	for _, c := range []struct {
		pod       *corev1.Pod
		container string
		percent   int32
	}{{p, "", 50}, {p, "main", 200}, {p, "sidecar", 100}, {whole, "", 25}} {
		calc := podautoscaler.Calculator{Replicas: 1, Pods: []*corev1.Pod{c.pod}, Tolerances: podautoscaler.Tolerances{Up: .1, Down: .1}, Now: now}
		if _, percent, _, err := calc.Utilization(values(2000), corev1.ResourceCPU, c.container, 50); err != nil || percent != c.percent {
			t.Errorf("container %q: %d%%, %v, want %d%%", c.container, percent, err, c.percent)
		}
	}
	memory := pod(0, func(p *corev1.Pod) {
		p.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}}
	}, unasked)
	for _, c := range []struct {
		pod             *corev1.Pod
		container, want string
	}{
		{memory, "", "missing pod-level request for cpu in Pod p0"},
		{p, "init", "container init not found in Pod p0"},
		{whole, "main", "missing request for cpu in container main of Pod p0"},
	} {
		calc := podautoscaler.Calculator{Replicas: 1, Pods: []*corev1.Pod{c.pod}, Now: now}
		if _, _, _, err := calc.Utilization(values(2000), corev1.ResourceCPU, c.container, 50); err == nil || err.Error() != c.want {
			t.Errorf("container %q: %v, want %s", c.container, err, c.want)
		}
	}
}

func TestValues(t *testing.T) {
	calc := podautoscaler.Calculator{Replicas: 3, Present: 3, Pods: pods(nil, nil, nil), Tolerances: podautoscaler.Tolerances{Up: .1, Down: .1}, Now: now}
	for _, c := range []struct{ value, target, whole, shared, average int64 }{
		{20000, 10000, 6, 2, 6667},
		{10500, 10000, 3, 2, 3500},
		{5000, 10000, 2, 1, 1667},
		{31000, 10000, 10, 3, 10334},
		{45000, 10000, 14, 5, 15000},
		{0, 10000, 0, 0, 0},
	} {
		whole, err := calc.Value(c.value, c.target)
		if err != nil || int64(whole) != c.whole {
			t.Errorf("%d of %d: %d, %v, want %d", c.value, c.target, whole, err, c.whole)
		}
		if shared, average := calc.PerPod(c.value, c.target); int64(shared) != c.shared || average != c.average {
			t.Errorf("%d of %d a pod: %d with %d each, want %d with %d", c.value, c.target, shared, average, c.shared, c.average)
		}
	}
	average, value, err := calc.Average(values(30000, 30000, 30000), "", 20000)
	if err != nil || average != 5 || value != 30000 {
		t.Errorf("an average of pods: %d, %d, %v", average, value, err)
	}
}

// What is proposed is what the formula says if all pods have figures, never moves
// against the metric, and no figures crash it.
func TestProposals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "pods")
		var list []*corev1.Pod
		var metrics []int64
		var sum int64
		all := true
		for i := range n {
			e := rapid.SampledFrom([]edits{nil, nil, nil, {pending}, {failed}, {young(10 * time.Second)}}).Draw(t, "pod")
			list = append(list, pod(i, e...))
			v := rapid.Int64Range(-200, 5000).Draw(t, "use")
			metrics = append(metrics, v)
			all = all && e == nil && v >= 0
			sum += v
		}
		target := rapid.Int32Range(1, 200).Draw(t, "target")
		calc := podautoscaler.Calculator{Replicas: int32(n), Present: int32(n), Pods: list, Tolerances: podautoscaler.Tolerances{Up: .1, Down: .1}, Now: now}
		got, percent, _, err := calc.Utilization(values(metrics...), corev1.ResourceCPU, "", target)
		if err != nil {
			return
		}
		if got < 0 {
			t.Fatalf("%d replicas", got)
		}
		if percent > target && got < int32(n) && all || percent < target && got > int32(n) {
			t.Fatalf("%d of %d replicas at %d%% of %d%%", got, n, percent, target)
		}
		if ratio := float64(percent) / float64(target); all && math.Abs(ratio-1) > .11 {
			if want := int32(math.Ceil(ratio * float64(n))); got != want || int64(percent) != sum*100/int64(1000*n) {
				t.Fatalf("%d replicas at %d%%, want %d", got, percent, want)
			}
		}
	})
}
