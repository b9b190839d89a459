package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/control"
	"headway.dev/engine/controllers/podautoscaler"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// load is pretended: all pods together use so many thousandths of CPU, and the queue is
// so long.
type load struct {
	c   *cluster
	mu  sync.Mutex
	cpu int64
	// queue is in thousandths; negative: nobody says.
	queue int64
}

func (l *load) set(cpu, queue int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cpu, l.queue = cpu, queue
}

// Resource implements podautoscaler.Metrics.
func (l *load) Resource(_ context.Context, _ string, pods labels.Selector, _ corev1.ResourceName, _ string) (map[string]podautoscaler.PodMetric, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var running []string
	for _, p := range l.c.pods() {
		if pods.Matches(labels.Set(p.Labels)) && control.Ready(p) {
			running = append(running, p.Name)
		}
	}
	if len(running) == 0 || l.cpu < 0 {
		return nil, errors.New("no metrics returned from resource metrics API")
	}
	metrics := map[string]podautoscaler.PodMetric{}
	for _, name := range running {
		metrics[name] = podautoscaler.PodMetric{At: time.Now(), Value: l.cpu / int64(len(running))}
	}
	return metrics, nil
}

// Pods implements podautoscaler.Metrics.
func (l *load) Pods(context.Context, string, labels.Selector, string, labels.Selector) (map[string]podautoscaler.PodMetric, error) {
	return nil, errors.New("no metrics returned from custom metrics API")
}

// Object implements podautoscaler.Metrics.
func (l *load) Object(context.Context, string, autoscalingv2.CrossVersionObjectReference, string, labels.Selector) (int64, error) {
	return 0, errors.New("no metrics returned from custom metrics API")
}

// External implements podautoscaler.Metrics.
func (l *load) External(context.Context, string, string, labels.Selector) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.queue < 0 {
		return 0, errors.New("no metrics returned from external metrics API")
	}
	return l.queue, nil
}

// autoscaled is a cluster in which autoscalers are looked at all the time.
func autoscaled(t *testing.T) (*cluster, *load) {
	t.Helper()
	l := &load{queue: -1}
	ready := make(chan struct{})
	c := start(t, 2, func(cfg *controllers.Config) {
		cfg.Metrics, cfg.AutoscalerSync, cfg.NodeGrace = waiting{ready, l}, 20*time.Millisecond, 24*time.Hour
	})
	l.c = c
	close(ready)
	return c, l
}

// waiting answers once the cluster is there.
type waiting struct {
	ready <-chan struct{}
	*load
}

func (w waiting) Resource(ctx context.Context, ns string, pods labels.Selector, r corev1.ResourceName, container string) (map[string]podautoscaler.PodMetric, error) {
	<-w.ready
	return w.load.Resource(ctx, ns, pods, r, container)
}

func autoscalerOf(kind, version, name string, metrics ...autoscalingv2.MetricSpec) *autoscalingv2.HorizontalPodAutoscaler {
	a := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	a.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{Kind: kind, APIVersion: version, Name: name}
	a.Spec.MaxReplicas, a.Spec.Metrics = 8, metrics
	zero, at := int32(0), autoscalingv2.MaxChangePolicySelect
	fast := &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &zero, SelectPolicy: &at, Policies: []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: 100, PeriodSeconds: 1}}}
	a.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: fast, ScaleDown: fast.DeepCopy()}
	return a
}

// queueMetric wants a pod for each of a queue.
func queueMetric() autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: "queue"},
		Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: new(resource.MustParse("1"))},
	}}
}

func (c *cluster) autoscaler(name string) *autoscalingv2.HorizontalPodAutoscaler {
	return control.Get[autoscalingv2.HorizontalPodAutoscaler](c.store, object.Key{GroupKind: control.HorizontalPodAutoscaler, Namespace: "default", Name: name})
}

// toldOf reports whether there is an event about an autoscaler.
func (c *cluster) toldOf(name, reason, message string) bool {
	events, _ := c.store.List(control.Event, "default")
	for _, obj := range events {
		e, ok := obj.(*corev1.Event)
		if ok && e.InvolvedObject.Name == name && e.Reason == reason && strings.Contains(e.Message, message) && e.Source.Component == "horizontal-pod-autoscaler" {
			return true
		}
	}
	return false
}

func is(a *autoscalingv2.HorizontalPodAutoscaler, typ autoscalingv2.HorizontalPodAutoscalerConditionType, status corev1.ConditionStatus, reason string) bool {
	for _, c := range a.Status.Conditions {
		if c.Type == typ {
			return c.Status == status && c.Reason == reason
		}
	}
	return false
}

// A Deployment follows the load of its pods up and down, within the bounds, with the
// conditions and events of Kubernetes; without figures it is left alone.
func TestAutoscaling(t *testing.T) {
	c, l := autoscaled(t)
	l.set(100, -1)
	web := newDeployment("web", 1)
	web.Spec.Template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	c.commit(change.Create(web, time.Now()), change.Create(autoscalerOf("Deployment", "apps/v1", "web"), time.Now()))
	replicas := func(want int32) func() bool {
		return func() bool {
			return *c.deployment("web").Spec.Replicas == want && c.autoscaler("web").Status.DesiredReplicas == want
		}
	}
	// 100m of 100m with a target of 80 %.
	c.eventually("two replicas", replicas(2))
	c.eventually("what was done is told", func() bool {
		return c.toldOf("web", "SuccessfulRescale", "New size: 2; reason: cpu resource utilization (percentage of request) above target")
	})
	l.set(450, -1)
	c.eventually("six replicas", replicas(6))
	c.eventually("the status", func() bool {
		a := c.autoscaler("web")
		m := a.Status.CurrentMetrics
		return len(m) == 1 && m[0].Resource != nil && *m[0].Resource.Current.AverageUtilization == 75 && a.Status.LastScaleTime != nil && *a.Status.ObservedGeneration == a.Generation &&
			is(a, autoscalingv2.ScalingActive, corev1.ConditionTrue, "ValidMetricFound") && is(a, autoscalingv2.AbleToScale, corev1.ConditionTrue, "ReadyForNewScale") &&
			is(a, autoscalingv2.ScalingLimited, corev1.ConditionFalse, "DesiredWithinRange")
	})
	l.set(9000, -1)
	c.eventually("no more than the bound", func() bool {
		return replicas(8)() && is(c.autoscaler("web"), autoscalingv2.ScalingLimited, corev1.ConditionTrue, "TooManyReplicas")
	})
	l.set(-1, -1)
	c.eventually("figures are missing", func() bool {
		return is(c.autoscaler("web"), autoscalingv2.ScalingActive, corev1.ConditionFalse, "FailedGetResourceMetric") &&
			c.toldOf("web", "FailedGetResourceMetric", "failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API") &&
			c.toldOf("web", "FailedComputeMetricsReplicas", "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization")
	})
	if n := *c.deployment("web").Spec.Replicas; n != 8 {
		t.Errorf("without figures: %d replicas", n)
	}
	l.set(0, -1)
	c.eventually("no less than the bound", func() bool {
		return replicas(1)() && is(c.autoscaler("web"), autoscalingv2.ScalingLimited, corev1.ConditionTrue, "TooFewReplicas") && c.toldOf("web", "SuccessfulRescale", "New size: 1; reason: All metrics below target")
	})
	// Whoever asks for none switches it off, and above the bounds it goes back at once.
	scale := func(n int32) {
		c.patch(func(d *appsv1.Deployment) { d.Spec.Replicas = &n })
	}
	scale(0)
	c.eventually("it is off", func() bool {
		return is(c.autoscaler("web"), autoscalingv2.ScalingActive, corev1.ConditionFalse, "ScalingDisabled")
	})
	l.set(2000, -1)
	scale(20)
	c.eventually("back within the bounds", replicas(8))
	c.eventually("that is told", func() bool {
		return c.toldOf("web", "SuccessfulRescale", "New size: 8; reason: Current number of replicas above Spec.MaxReplicas")
	})
}

// Several metrics: the highest number counts, and one that is not known keeps from less.
// Two autoscalers with the same pods, one without a target, and one whose target is not
// there do nothing.
func TestAutoscalersInTrouble(t *testing.T) {
	c, l := autoscaled(t)
	l.set(100, 5000)
	web := newDeployment("web", 1)
	web.Spec.Template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	cpu := autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To[int32](80)},
	}}
	c.commit(change.Create(web, time.Now()), change.Create(autoscalerOf("Deployment", "apps/v1", "web", cpu, queueMetric()), time.Now()),
		change.Create(autoscalerOf("Deployment", "apps/v1", "gone"), time.Now()), change.Create(autoscalerOf("ConfigMap", "v1", "kube-root-ca.crt"), time.Now()))
	replicas := func(want int32) func() bool { return func() bool { return *c.deployment("web").Spec.Replicas == want } }
	c.eventually("the queue asks for more", replicas(5))
	l.set(100, -1)
	c.eventually("a metric is missing, and the other asks for less", func() bool {
		return is(c.autoscaler("web"), autoscalingv2.ScalingActive, corev1.ConditionFalse, "FailedGetExternalMetric")
	})
	if !replicas(5)() {
		t.Errorf("scaled down to %d without knowing", *c.deployment("web").Spec.Replicas)
	}
	l.set(600, -1)
	c.eventually("the other asks for more", replicas(8))
	for name, reason := range map[string]string{"gone": `deployments.apps "gone" not found`, "kube-root-ca.crt": "the server could not find the requested resource"} {
		c.eventually(name+" is not scaled", func() bool {
			return is(c.autoscaler(name), autoscalingv2.AbleToScale, corev1.ConditionFalse, "FailedGetScale") && c.toldOf(name, "FailedGetScale", reason)
		})
	}
	second := autoscalerOf("Deployment", "apps/v1", "second")
	second.Spec.ScaleTargetRef.Name = "web"
	c.commit(change.Create(second, time.Now()))
	c.eventually("both know of each other", func() bool {
		ambiguous := func(name string) bool {
			return is(c.autoscaler(name), autoscalingv2.ScalingActive, corev1.ConditionFalse, "AmbiguousSelector") &&
				c.toldOf(name, "AmbiguousSelector", "pods by selector app=web are controlled by more than one HPA (e.g. [default/second default/web])")
		}
		return ambiguous("web") && ambiguous("second")
	})
	c.commit(change.Delete(object.Key{GroupKind: control.HorizontalPodAutoscaler, Namespace: "default", Name: "second"}, metav1.DeleteOptions{}, time.Now()))
	c.eventually("the first goes on", func() bool {
		return is(c.autoscaler("web"), autoscalingv2.ScalingActive, corev1.ConditionTrue, "ValidMetricFound")
	})
}

// A queue that is empty lets all pods go, and brings them back; whoever asks for none
// meanwhile gets none.
func TestAutoscalingToNone(t *testing.T) {
	c, l := autoscaled(t)
	l.set(-1, 2000)
	a := autoscalerOf("Deployment", "apps/v1", "web", queueMetric())
	a.Spec.MinReplicas = new(int32(0))
	c.commit(change.Create(newDeployment("web", 1), time.Now()), change.Create(a, time.Now()))
	replicas := func(want int32, typ autoscalingv2.HorizontalPodAutoscalerConditionType, status corev1.ConditionStatus, reason string) {
		t.Helper()
		c.eventually(fmt.Sprintf("%d replicas and %s", want, reason), func() bool {
			return *c.deployment("web").Spec.Replicas == want && c.autoscaler("web").Status.DesiredReplicas == want && is(c.autoscaler("web"), typ, status, reason)
		})
	}
	replicas(2, autoscalingv2.ScaledToZero, corev1.ConditionFalse, "NotScaledToZero")
	l.set(-1, 0)
	replicas(0, autoscalingv2.ScaledToZero, corev1.ConditionTrue, "ScaledToZero")
	l.set(-1, 3000)
	replicas(3, autoscalingv2.ScaledToZero, corev1.ConditionFalse, "NotScaledToZero")
	c.patch(func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(0)) })
	replicas(0, autoscalingv2.ScalingActive, corev1.ConditionFalse, "ScalingDisabled")
	c.patch(func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(1)) })
	replicas(3, autoscalingv2.ScalingActive, corev1.ConditionTrue, "ValidMetricFound")
	l.set(-1, 0)
	replicas(0, autoscalingv2.ScaledToZero, corev1.ConditionTrue, "ScaledToZero")
	key := object.Key{GroupKind: control.HorizontalPodAutoscaler, Namespace: "default", Name: "web"}
	c.commit(change.Patch(key, func(obj object.Object) bool {
		obj.(*autoscalingv2.HorizontalPodAutoscaler).Spec.MinReplicas = new(int32(2))
		return true
	}))
	replicas(2, autoscalingv2.ScaledToZero, corev1.ConditionFalse, "NotScaledToZero")
}

// A custom resource with a scale is scaled, too.
func TestAutoscalingOfCustomResources(t *testing.T) {
	c, l := autoscaled(t)
	l.set(0, 3000)
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "fleets.example.com"}}
	crd.Spec.Group, crd.Spec.Scope = "example.com", apiextensionsv1.NamespaceScoped
	crd.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: "fleets", Kind: "Fleet"}
	selector, sizes := ".status.labels", map[string]apiextensionsv1.JSONSchemaProps{"size": {Type: "integer"}, "labels": {Type: "string"}}
	crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{
		Name: "v1", Served: true, Storage: true,
		Subresources: &apiextensionsv1.CustomResourceSubresources{Scale: &apiextensionsv1.CustomResourceSubresourceScale{
			SpecReplicasPath: ".spec.size", StatusReplicasPath: ".status.size", LabelSelectorPath: &selector,
		}},
		Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
			"spec": {Type: "object", Properties: sizes}, "status": {Type: "object", Properties: sizes},
		}}},
	}}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Fleet", "metadata": map[string]any{"namespace": "default", "name": "f"},
		"spec": map[string]any{"size": int64(1)}, "status": map[string]any{"size": int64(1), "labels": "app=f"},
	}}
	key := object.Key{GroupKind: schema.GroupKind{Group: "example.com", Kind: "Fleet"}, Namespace: "default", Name: "f"}
	c.commit(change.Create(crd, time.Now()))
	c.commit(change.PatchStatus(object.Key{GroupKind: apiextensionsv1.Kind("CustomResourceDefinition"), Name: crd.Name}, func(obj object.Object) bool {
		obj.(*apiextensionsv1.CustomResourceDefinition).Status.AcceptedNames = crd.Spec.Names
		return true
	}))
	c.commit(change.Create(u, time.Now()))
	c.commit(change.Create(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "f", Labels: map[string]string{"app": "f"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}, time.Now()), change.Create(autoscalerOf("Fleet", "example.com/v1", "f", queueMetric()), time.Now()))
	c.eventually("the fleet has three", func() bool {
		n, _, err := unstructured.NestedInt64(c.store.Get(key).(*unstructured.Unstructured).Object, "spec", "size")
		return err == nil && n == 3
	})
}

// Two autoscalers with bounds that exclude each other, and one that scales the ReplicaSet of
// a Deployment, never come to an end. They take turns once in a while, and not as fast as
// the store writes.
func TestAutoscalersThatFight(t *testing.T) {
	l := &load{queue: -1}
	c := start(t, 1, func(cfg *controllers.Config) {
		cfg.Metrics, cfg.AutoscalerSync, cfg.NodeGrace = l, time.Hour, 24*time.Hour
	})
	bounded := func(name, kind, target string, n int32) change.Change {
		a := autoscalerOf(kind, "apps/v1", name)
		a.Spec.ScaleTargetRef.Name, a.Spec.MinReplicas, a.Spec.MaxReplicas = target, &n, n
		return change.Create(a, time.Now())
	}
	scaled := func(name string) func() bool {
		return func() bool { return c.autoscaler(name).Status.LastScaleTime != nil }
	}
	c.commit(change.Create(newDeployment("two", 1), time.Now()), bounded("less", "Deployment", "two", 2), bounded("more", "Deployment", "two", 3), change.Create(newDeployment("above", 1), time.Now()))
	c.eventually("the one does its work", scaled("less"))
	c.eventually("so does the other", scaled("more"))
	c.eventually("there is a ReplicaSet", func() bool { return c.rolledOut("above") })
	set := c.newest(c.deployment("above")).Name
	c.commit(bounded("below", "ReplicaSet", set, 2))
	c.eventually("it does its work", scaled("below"))
	// While another one is served from the beginning to the end, they keep quiet.
	c.commit(change.Create(newDeployment("witness", 1), time.Now()), bounded("witness", "Deployment", "witness", 4))
	c.eventually("the witness is scaled", func() bool { return *c.deployment("witness").Spec.Replicas == 4 && c.rolledOut("witness") })
	if n := c.deployment("two").Generation; n > 6 {
		t.Errorf("two autoscalers changed the Deployment %d times", n-1)
	}
	if n := c.newest(c.deployment("above")).Generation; n > 8 {
		t.Errorf("an autoscaler and the Deployment changed the ReplicaSet %d times", n-1)
	}
}
