package podautoscaler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const (
	source = "horizontal-pod-autoscaler"
	// sync15 is how often an autoscaler is looked at.
	sync15 = 15 * time.Second
	// tolerance is by how much a metric may be off, unless the behavior says otherwise.
	tolerance = 0.1
)

type controller struct {
	control.Env
	metrics Metrics
	every   time.Duration
	// targets are the autoscalers by what they scale.
	targets *control.Index

	mu sync.Mutex
	// histories and selectors are of the autoscalers that were looked at.
	histories map[object.Key]*History
	selectors map[object.Key]labels.Selector
	// scaledAt is when each of them scaled its target last.
	scaledAt map[object.Key]time.Time
}

// New makes the controller, which looks at each autoscaler as often as every says
// (default 15 s).
func New(env control.Env, metrics Metrics, every time.Duration) control.Controller {
	c := &controller{
		Env: env, metrics: metrics, every: cmp.Or(every, sync15),
		targets:   env.Feed.Index("autoscalers by target", byTarget, control.HorizontalPodAutoscaler),
		histories: map[object.Key]*History{}, selectors: map[object.Key]labels.Selector{}, scaledAt: map[object.Key]time.Time{},
	}
	return control.Controller{Name: "horizontal-pod-autoscaler-controller", Workers: 5, Keys: c.keys, Reconcile: c.reconcile}
}

func byTarget(obj object.Object) []string {
	a, ok := obj.(*autoscalingv2.HorizontalPodAutoscaler)
	if !ok {
		return nil
	}
	ref := a.Spec.ScaleTargetRef
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil
	}
	return []string{object.Key{GroupKind: schema.GroupKind{Group: gv.Group, Kind: ref.Kind}, Namespace: a.Namespace, Name: ref.Name}.String()}
}

func (c *controller) keys(ev object.Event, add func(object.Key)) {
	if a, ok := ev.Object.(*autoscalingv2.HorizontalPodAutoscaler); ok {
		was, _ := ev.Old.(*autoscalingv2.HorizontalPodAutoscaler)
		// Its status is what this controller writes itself.
		if ev.Type != object.Modified || was == nil || was.Generation != a.Generation {
			add(ev.Key)
		}
		return
	}
	if c.targets.Len(ev.Key.String()) == 0 {
		return
	}
	n, yes := c.scaled(ev)
	for _, obj := range c.targets.Get(ev.Key.String()) {
		a, ok := obj.(*autoscalingv2.HorizontalPodAutoscaler)
		if ok && (ev.Type == object.Deleted || yes && a.Status.DesiredReplicas != n) {
			add(object.KeyOf(control.HorizontalPodAutoscaler, a))
		}
	}
}

func (c *controller) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	a := control.Get[autoscalingv2.HorizontalPodAutoscaler](c.Store, key)
	if a == nil || a.DeletionTimestamp != nil {
		c.forget(key)
		return 0, nil
	}
	if left := c.rests(key); left > 0 && ptr.Deref(a.Status.ObservedGeneration, 0) == a.Generation {
		return left, nil
	}
	h := c.history(key)
	status := a.Status.DeepCopy()
	if err := c.scale(ctx, a, key, h, status); err != nil {
		// It is looked at again as often as ever: asking more often does not help.
		c.Log.Debug("an autoscaler could not do its work", "autoscaler", key.String(), "error", err)
	}
	status.ObservedGeneration = new(a.Generation)
	if apiequality.Semantic.DeepEqual(&a.Status, status) {
		return c.every, nil
	}
	write := change.PatchStatus(key, func(obj object.Object) bool {
		obj.(*autoscalingv2.HorizontalPodAutoscaler).Status = *status
		return true
	})
	same := func(current object.Object) bool { return current.GetUID() == a.UID }
	if _, err := c.Commit(ctx, change.Tx{Changes: []change.Change{control.Guarded(write, same)}}); err != nil {
		c.markScaled(key, false)
		c.Events.Warning(source, a, "FailedUpdateStatus", "%v", err)
		return 0, fmt.Errorf("write the status of %s: %w", key, err)
	}
	return c.every, nil
}

func (c *controller) forget(key object.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.histories, key)
	delete(c.scaledAt, key)
	delete(c.selectors, key)
}

// rests is how long an autoscaler that has scaled its target leaves it alone. Who sets
// another number then may answer every write of the autoscaler: another one, or the
// Deployment of a ReplicaSet. They take turns as often as autoscalers are looked at, and
// not as fast as they can.
func (c *controller) rests(key object.Key) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, scaled := c.scaledAt[key]
	if since := c.Now().Sub(at); scaled && since >= 0 && since < c.every {
		return c.every - since
	}
	delete(c.scaledAt, key)
	return 0
}

// markScaled notes that an autoscaler has just scaled its target, or that it has not.
func (c *controller) markScaled(key object.Key, scaled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if scaled {
		c.scaledAt[key] = c.Now()
	} else {
		delete(c.scaledAt, key)
	}
}

// history is that of one autoscaler, at which one worker looks at a time.
func (c *controller) history(key object.Key) *History {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.histories[key] == nil {
		c.histories[key] = &History{}
	}
	return c.histories[key]
}

// scale looks at the target of an autoscaler, and scales it. What it finds is in the
// status.
func (c *controller) scale(ctx context.Context, a *autoscalingv2.HorizontalPodAutoscaler, key object.Key, h *History, status *autoscalingv2.HorizontalPodAutoscalerStatus) error {
	is := conditions{a, status, c.Now()}
	target, err := c.scaleOf(a.Namespace, a.Spec.ScaleTargetRef)
	if err != nil {
		c.Events.Warning(source, a, "FailedGetScale", "%v", err)
		is.set(autoscalingv2.AbleToScale, false, "FailedGetScale", fmt.Sprintf("the HPA controller was unable to get the target's current scale: %v", err))
		return err
	}
	is.set(autoscalingv2.AbleToScale, true, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
	current, least := target.replicas, minimum(&a.Spec)
	h.Begin(current, c.Now())
	status.CurrentReplicas = current
	var desired int32
	why := ""
	asleep := current == 0 && asleep(a)
	switch {
	case current == 0 && !asleep:
		is.set(autoscalingv2.ScalingActive, false, "ScalingDisabled", "scaling is disabled since the replica count of the target is zero")
		status.CurrentMetrics = nil
	case current > a.Spec.MaxReplicas:
		desired, why, status.CurrentMetrics = a.Spec.MaxReplicas, "Current number of replicas above Spec.MaxReplicas", nil
	case current < least && !asleep:
		desired, why, status.CurrentMetrics = least, "Current number of replicas below Spec.MinReplicas", nil
	default:
		n, metric, failure := c.compute(ctx, a, key, target, status, is)
		if n < 0 {
			c.Events.Warning(source, a, "FailedComputeMetricsReplicas", "%v", failure)
			return failure
		}
		err = failure
		if n > current {
			why = metric + " above target"
		} else if n < current {
			why = "All metrics below target"
		}
		limited := h.Limit(&a.Spec, current, n, c.Now())
		is.set(autoscalingv2.AbleToScale, true, limited.AbleReason, limited.AbleMessage)
		is.set(autoscalingv2.ScalingLimited, limited.Limited, limited.LimitedReason, limited.LimitMessage)
		desired = limited.Replicas
		if asleep && desired < least {
			desired, why = least, cmp.Or(why, "Current number of replicas below Spec.MinReplicas")
		}
	}
	if desired != current {
		c.markScaled(key, true)
		if err := c.rescale(ctx, target, desired); err != nil {
			c.markScaled(key, false)
			c.Events.Warning(source, a, "FailedRescale", "New size: %d; reason: %s; error: %v", desired, why, err)
			is.set(autoscalingv2.AbleToScale, false, "FailedUpdateScale", fmt.Sprintf("the HPA controller was unable to update the target scale: %v", err))
			return err
		}
		is.set(autoscalingv2.AbleToScale, true, "SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", desired))
		c.Events.Normal(source, a, "SuccessfulRescale", "New size: %d; reason: %s", desired, why)
		if desired == 0 && least == 0 && countsOthers(a) {
			is.set(autoscalingv2.ScaledToZero, true, "ScaledToZero", "the HPA controller scaled the workload to zero")
		} else {
			is.set(autoscalingv2.ScaledToZero, false, "NotScaledToZero", "the HPA controller did not scale the workload to zero")
		}
		h.Scaled(&a.Spec, current, desired, c.Now())
		now := metav1.NewTime(c.Now().Truncate(time.Second))
		status.LastScaleTime = &now
	}
	status.DesiredReplicas = desired
	return err
}

// asleep reports whether a target without pods was scaled to none by the autoscaler, and
// not by somebody who wants none, and may get some again.
func asleep(a *autoscalingv2.HorizontalPodAutoscaler) bool {
	scaled := slices.ContainsFunc(a.Status.Conditions, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool {
		return c.Type == autoscalingv2.ScaledToZero && c.Status == corev1.ConditionTrue
	})
	return scaled && (minimum(&a.Spec) != 0 || countsOthers(a))
}

// countsOthers reports whether there are figures without pods.
func countsOthers(a *autoscalingv2.HorizontalPodAutoscaler) bool {
	return slices.ContainsFunc(a.Spec.Metrics, func(m autoscalingv2.MetricSpec) bool {
		return m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	})
}

// compute asks all metrics for a number, and returns the highest and which metric asks
// for it. It is -1 if that is not known, with the error why; an error beside a number is
// that of the metrics which do not matter then.
func (c *controller) compute(ctx context.Context, a *autoscalingv2.HorizontalPodAutoscaler, key object.Key, target *scale, status *autoscalingv2.HorizontalPodAutoscalerStatus, is conditions) (replicas int32, metric string, err error) {
	selector, reason, err := target.parsed()
	var pods []*corev1.Pod
	if err == nil {
		pods = c.selected(a.Namespace, selector)
		reason, err = "AmbiguousSelector", c.alone(key, selector, pods)
	}
	if err != nil {
		status.CurrentMetrics = nil
		is.set(autoscalingv2.ScalingActive, false, reason, err.Error())
		if target.selector == "" {
			reason, err = "SelectorRequired", errors.New("selector is required")
		}
		c.Events.Warning(source, a, reason, "%v", err)
		return -1, "", err
	}
	calc := Calculator{Replicas: target.replicas, Present: target.present, Pods: pods, Tolerances: tolerances(a.Spec.Behavior), Now: c.Now()}
	status.CurrentMetrics = make([]autoscalingv2.MetricStatus, len(a.Spec.Metrics))
	var invalid []proposal
	for i := range a.Spec.Metrics {
		p := c.propose(ctx, calc, a.Namespace, selector, &a.Spec.Metrics[i])
		if p.err != nil {
			c.Events.Warning(source, a, p.reason, "%v", p.err)
			invalid = append(invalid, p)
			continue
		}
		status.CurrentMetrics[i] = p.status
		if replicas == 0 || p.replicas > replicas {
			replicas, metric = p.replicas, p.name
		}
	}
	if len(invalid) > 0 {
		err = fmt.Errorf("invalid metrics (%d invalid out of %d), first error is: %w", len(invalid), len(a.Spec.Metrics), invalid[0].told())
	}
	// With a metric that is not known, there may have to be more than the others say.
	if metric == "" || len(invalid) > 0 && replicas < target.replicas {
		if len(invalid) == 0 {
			err = errors.New("there are no metrics")
			return -1, "", err
		}
		is.set(autoscalingv2.ScalingActive, false, invalid[0].reason, fmt.Sprintf("the HPA was unable to compute the replica count: %v", invalid[0].err))
		return -1, "", err
	}
	is.set(autoscalingv2.ScalingActive, true, "ValidMetricFound", "the HPA was able to successfully calculate a replica count from "+metric)
	return replicas, metric, err
}

func (c *controller) selected(namespace string, selector labels.Selector) []*corev1.Pod {
	var pods []*corev1.Pod
	all, _ := c.Store.List(control.Pod, namespace)
	for _, obj := range all {
		if pod, ok := obj.(*corev1.Pod); ok && selector.Matches(labels.Set(pod.Labels)) {
			pods = append(pods, pod)
		}
	}
	return pods
}

// alone fails if pods of an autoscaler are another's, too.
func (c *controller) alone(key object.Key, selector labels.Selector, pods []*corev1.Pod) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.selectors[key] = selector
	var others []string
	for other, theirs := range c.selectors {
		if other == key || other.Namespace != key.Namespace {
			continue
		}
		if slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return theirs.Matches(labels.Set(p.Labels)) }) {
			others = append(others, other.Namespace+"/"+other.Name)
		}
	}
	if len(others) == 0 {
		return nil
	}
	two := []string{key.Namespace + "/" + key.Name, slices.Min(others)}
	slices.Sort(two)
	return fmt.Errorf("pods by selector %v are controlled by more than one HPA (e.g. %v)", selector, two)
}

func tolerances(b *autoscalingv2.HorizontalPodAutoscalerBehavior) Tolerances {
	t := Tolerances{tolerance, tolerance}
	if b != nil && b.ScaleUp != nil && b.ScaleUp.Tolerance != nil {
		t.Up = b.ScaleUp.Tolerance.AsApproximateFloat64()
	}
	if b != nil && b.ScaleDown != nil && b.ScaleDown.Tolerance != nil {
		t.Down = b.ScaleDown.Tolerance.AsApproximateFloat64()
	}
	return t
}

// conditions writes those of a status.
type conditions struct {
	of     *autoscalingv2.HorizontalPodAutoscaler
	status *autoscalingv2.HorizontalPodAutoscalerStatus
	now    time.Time
}

func (c conditions) set(typ autoscalingv2.HorizontalPodAutoscalerConditionType, is bool, reason, message string) {
	status := corev1.ConditionFalse
	if is {
		status = corev1.ConditionTrue
	}
	list := c.status.Conditions
	at := slices.IndexFunc(list, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool { return c.Type == typ })
	if at < 0 {
		c.status.Conditions = append(list, autoscalingv2.HorizontalPodAutoscalerCondition{Type: typ})
		list, at = c.status.Conditions, len(list)
	}
	one := &list[at]
	if one.Status != status {
		one.LastTransitionTime = metav1.NewTime(c.now.Truncate(time.Second))
	}
	one.Status, one.Reason, one.Message, one.ObservedGeneration = status, reason, message, new(c.of.Generation)
}
