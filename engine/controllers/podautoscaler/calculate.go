package podautoscaler

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	component "k8s.io/component-helpers/resource"

	"headway.dev/engine/controllers/control"
)

const (
	// initialization is for how long after its start the CPU of a pod may be that of its
	// start, and readinessDelay for how long it may become unready for the first time.
	initialization = 5 * time.Minute
	readinessDelay = 30 * time.Second
)

// PodMetric is what a pod has of a metric, in thousandths.
type PodMetric struct {
	At     time.Time
	Window time.Duration
	Value  int64
}

// Tolerances are by how much a metric may be off in each direction before that counts.
type Tolerances struct{ Up, Down float64 }

func (t Tolerances) within(ratio float64) bool { return 1-t.Down <= ratio && ratio <= 1+t.Up }

// Calculator says how many replicas a metric asks for. It is pure.
type Calculator struct {
	// Replicas is how many the target asks for, and Present how many its status has.
	Replicas, Present int32
	// Pods are those that the target's selector selects.
	Pods       []*corev1.Pod
	Tolerances Tolerances
	Now        time.Time
}

// groups are the pods by what their figures are worth.
type groups struct {
	ready            int
	unready, missing map[string]bool
}

// group sorts the pods, and removes the figures that are worth nothing.
func (c Calculator) group(metrics map[string]PodMetric, resource corev1.ResourceName) groups {
	g := groups{unready: map[string]bool{}, missing: map[string]bool{}}
	for _, pod := range c.Pods {
		if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodFailed {
			delete(metrics, pod.Name)
			continue
		}
		if pod.Status.Phase == corev1.PodPending {
			g.unready[pod.Name] = true
			continue
		}
		metric, found := metrics[pod.Name]
		if !found {
			g.missing[pod.Name] = true
			continue
		}
		if resource == corev1.ResourceCPU && c.starting(pod, metric) {
			g.unready[pod.Name] = true
			continue
		}
		g.ready++
	}
	for name := range g.unready {
		delete(metrics, name)
	}
	return g
}

// starting reports whether the CPU of a pod says nothing yet.
func (c Calculator) starting(pod *corev1.Pod, metric PodMetric) bool {
	ready := control.PodCondition(pod, corev1.PodReady)
	if ready == nil || pod.Status.StartTime == nil {
		return true
	}
	start := pod.Status.StartTime.Time
	if start.Add(initialization).After(c.Now) {
		// Unready, or a whole window was not measured since it is ready.
		return ready.Status == corev1.ConditionFalse || metric.At.Before(ready.LastTransitionTime.Add(metric.Window))
	}
	// Unready, and never was ready.
	return ready.Status == corev1.ConditionFalse && start.Add(readinessDelay).After(ready.LastTransitionTime.Time)
}

// errNoPods is that of a selector that selects nothing.
var errNoPods = errors.New("no pods returned by selector while calculating replica count")

var errNoMetrics = errors.New("did not receive metrics for targeted pods (pods might be unready)")

// Utilization is what a percentage of the pods' requests asks for. The metrics are
// changed.
func (c Calculator) Utilization(metrics map[string]PodMetric, resource corev1.ResourceName, container string, target int32) (replicas, percent int32, average int64, err error) {
	if len(c.Pods) == 0 {
		return 0, 0, 0, errNoPods
	}
	g := c.group(metrics, resource)
	if len(metrics) == 0 {
		return 0, 0, 0, errNoMetrics
	}
	requests, err := requested(c.Pods, resource, container)
	if err != nil {
		return 0, 0, 0, err
	}
	usage := func() (ratio float64, percent int32, average int64, err error) {
		var used, of, n int64
		for name, m := range metrics {
			if request, known := requests[name]; known {
				used, of, n = used+m.Value, of+request, n+1
			}
		}
		if of == 0 {
			return 0, 0, 0, errors.New("no metrics returned matched known pods")
		}
		percent = int32(min(multiplied(used, 100, of), math.MaxInt32))
		return float64(percent) / float64(target), percent, used / n, nil
	}
	ratio, percent, average, err := usage()
	if err != nil {
		return 0, 0, 0, err
	}
	replicas, err = c.propose(metrics, g, ratio, func(pod string) int64 { return multiplied(requests[pod], max(100, int64(target)), 100) }, func() (float64, error) {
		ratio, _, _, err := usage()
		return ratio, err
	})
	return replicas, percent, average, err
}

// Average is what a value for each pod asks for. The metrics are changed. resource is
// empty for metrics that are not of a resource.
func (c Calculator) Average(metrics map[string]PodMetric, resource corev1.ResourceName, target int64) (replicas int32, average int64, err error) {
	if len(c.Pods) == 0 {
		return 0, 0, errNoPods
	}
	g := c.group(metrics, resource)
	if len(metrics) == 0 {
		return 0, 0, errNoMetrics
	}
	usage := func() (float64, int64) {
		var sum int64
		for _, m := range metrics {
			sum += m.Value
		}
		average := sum / int64(len(metrics))
		return float64(average) / float64(target), average
	}
	ratio, average := usage()
	replicas, err = c.propose(metrics, g, ratio, func(string) int64 { return target }, func() (float64, error) {
		ratio, _ := usage()
		return ratio, nil
	})
	return replicas, average, err
}

// propose turns a ratio of use to target into a number. Pods without figures use all of
// what full says if that shrinks, and nothing if it grows; pods that are not ready use
// nothing if it grows.
func (c Calculator) propose(metrics map[string]PodMetric, g groups, ratio float64, full func(pod string) int64, again func() (float64, error)) (int32, error) {
	withUnready := len(g.unready) > 0 && ratio > 1
	if !withUnready && len(g.missing) == 0 {
		if c.Tolerances.within(ratio) {
			return c.Replicas, nil
		}
		return ceil(ratio * float64(g.ready)), nil
	}
	for name := range g.missing {
		if ratio < 1 {
			metrics[name] = PodMetric{Value: full(name)}
		} else if ratio > 1 {
			metrics[name] = PodMetric{}
		}
	}
	if withUnready {
		for name := range g.unready {
			metrics[name] = PodMetric{}
		}
	}
	next, err := again()
	if err != nil {
		return 0, err
	}
	if c.Tolerances.within(next) || ratio < 1 && next > 1 || ratio > 1 && next < 1 {
		return c.Replicas, nil
	}
	replicas := ceil(next * float64(len(metrics)))
	if next < 1 && replicas > c.Replicas || next > 1 && replicas < c.Replicas {
		return c.Replicas, nil
	}
	return replicas, nil
}

// Value is what a value of something other than the pods asks for.
func (c Calculator) Value(value, target int64) (int32, error) {
	ratio := float64(value) / float64(target)
	if c.Replicas == 0 {
		return ceil(ratio), nil
	}
	if c.Tolerances.within(ratio) {
		return c.Replicas, nil
	}
	if len(c.Pods) == 0 {
		return 0, fmt.Errorf("unable to calculate ready pods: %w", errNoPods)
	}
	ready := 0
	for _, pod := range c.Pods {
		if pod.Status.Phase == corev1.PodRunning && control.Ready(pod) {
			ready++
		}
	}
	return ceil(ratio * float64(ready)), nil
}

// PerPod is what a value of something other than the pods asks for that is to be shared
// by them.
func (c Calculator) PerPod(value, target int64) (replicas int32, average int64) {
	replicas = c.Present
	if ratio := float64(value) / (float64(target) * float64(replicas)); replicas == 0 || !c.Tolerances.within(ratio) {
		replicas = ceil(float64(value) / float64(target))
	}
	if c.Present == 0 {
		return replicas, value
	}
	return replicas, int64(math.Ceil(float64(value) / float64(c.Present)))
}

// multiplied is n*by/of of numbers that are not negative, as near to that as an int64
// comes: a pod may use any multiple of what it requests.
func multiplied(n, by, of int64) int64 {
	if n <= math.MaxInt64/by {
		return n * by / of
	}
	return int64(min(float64(n)*float64(by)/float64(of), 1<<62))
}

// ceil rounds up, within what a number of replicas can be.
func ceil(f float64) int32 { return int32(math.Ceil(min(max(f, 0), math.MaxInt32))) }

// requested is what each pod requests, in thousandths, or one container of it.
func requested(pods []*corev1.Pod, resource corev1.ResourceName, container string) (map[string]int64, error) {
	requests := map[string]int64{}
	for _, pod := range pods {
		n, err := requestOf(pod, resource, container)
		if err != nil {
			return nil, err
		}
		requests[pod.Name] = n
	}
	return requests, nil
}

func requestOf(pod *corev1.Pod, resource corev1.ResourceName, container string) (int64, error) {
	if container == "" && component.IsPodLevelRequestsSet(pod) {
		q, ok := component.PodRequests(pod, component.PodResourcesOptions{})[resource]
		if !ok {
			return 0, fmt.Errorf("missing pod-level request for %s in Pod %s", resource, pod.Name)
		}
		return q.MilliValue(), nil
	}
	var sum int64
	found := container == ""
	for _, c := range running(&pod.Spec) {
		if container != "" && c.Name != container {
			continue
		}
		q, ok := c.Resources.Requests[resource]
		if !ok {
			return 0, fmt.Errorf("missing request for %s in container %s of Pod %s", resource, c.Name, pod.Name)
		}
		sum, found = sum+q.MilliValue(), true
	}
	if !found {
		return 0, fmt.Errorf("container %s not found in Pod %s", container, pod.Name)
	}
	return sum, nil
}

// running are the containers that run as long as the pod does.
func running(spec *corev1.PodSpec) []corev1.Container {
	list := slices.Clip(spec.Containers)
	for _, c := range spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			list = append(list, c)
		}
	}
	return list
}
