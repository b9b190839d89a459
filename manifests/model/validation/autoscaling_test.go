package validation_test

import (
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
)

func autoscalerCases(t *testing.T) {
	t.Helper()
	type hpa = *autoscalingv2.HorizontalPodAutoscaler
	type metric = autoscalingv2.MetricSpec
	base := `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 5
  behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 60}]}}
`
	only := func(m metric) func(hpa) { return func(a hpa) { a.Spec.Metrics = []metric{m} } }
	aim := func(typ autoscalingv2.MetricTargetType) autoscalingv2.MetricTarget {
		return autoscalingv2.MetricTarget{Type: typ, Value: new(resource.MustParse("1")), AverageValue: new(resource.MustParse("1")), AverageUtilization: new(int32(1))}
	}
	named := autoscalingv2.MetricIdentifier{Name: "m"}
	rules := func(edit func(*autoscalingv2.HPAScalingRules)) func(hpa) {
		return func(a hpa) { edit(a.Spec.Behavior.ScaleUp) }
	}
	policy := func(p autoscalingv2.HPAScalingPolicy) func(hpa) {
		return rules(func(r *autoscalingv2.HPAScalingRules) { r.Policies = []autoscalingv2.HPAScalingPolicy{p} })
	}
	create(t, base, cases[hpa]{
		"as it is": {func(hpa) {}, nil},
		"min -1":   {func(a hpa) { a.Spec.MinReplicas = new(int32(-1)) }, []string{"spec.minReplicas: Invalid value: -1: must be greater than or equal to 0"}},
		"min 0":    {func(a hpa) { a.Spec.MinReplicas = new(int32(0)) }, []string{"spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas"}},
		"min 0 by a queue": {func(a hpa) {
			a.Spec.MinReplicas = new(int32(0))
			only(metric{Type: "External", External: &autoscalingv2.ExternalMetricSource{Metric: named, Target: autoscalingv2.MetricTarget{Type: "Value", Value: new(resource.MustParse("1"))}}})(a)
		}, nil},
		"max 0": {func(a hpa) { a.Spec.MaxReplicas = 0 }, []string{
			"spec.maxReplicas: Required value", "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
		}},
		"max -1": {func(a hpa) { a.Spec.MaxReplicas = -1 }, []string{
			"spec.maxReplicas: Invalid value: -1: must be greater than or equal to 1", "spec.maxReplicas: Invalid value: -1: must be greater than or equal to `minReplicas`",
		}},
		"max below min": {func(a hpa) { a.Spec.MaxReplicas = 1 }, []string{"spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`"}},
		"no target": {func(a hpa) { a.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{} }, []string{
			"spec.scaleTargetRef.kind: Required value", "spec.scaleTargetRef.name: Required value",
			`spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group`,
		}},
		"target of the core group": {func(a hpa) { a.Spec.ScaleTargetRef.APIVersion = "v1" }, []string{
			`spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group`,
		}},
		"replication controller": {func(a hpa) {
			a.Spec.ScaleTargetRef.APIVersion, a.Spec.ScaleTargetRef.Kind = "v1", "ReplicationController"
		}, nil},
		"target of no version": {func(a hpa) { a.Spec.ScaleTargetRef.APIVersion = "a/b/c" }, []string{
			`spec.scaleTargetRef.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c`,
		}},
		"target": {func(a hpa) { a.Spec.ScaleTargetRef.Kind, a.Spec.ScaleTargetRef.Name = "..", "a/b" }, []string{
			`spec.scaleTargetRef.kind: Invalid value: "..": may not be '..'`, `spec.scaleTargetRef.name: Invalid value: "a/b": may not contain '/'`,
		}},
		"no type": {only(metric{}), []string{
			"spec.metrics[0].type: Required value: must specify a metric source type",
			`spec.metrics[0].type: Unsupported value: "": supported values: "ContainerResource", "External", "Object", "Pods", "Resource"`,
			`spec.metrics[0].type: Unsupported value: "": supported values: "ContainerResource", "External", "Object", "Pods", "Resource"`,
		}},
		"no source": {only(metric{Type: "Pods"}), []string{"spec.metrics[0].pods: Required value: must populate information for the given metric source"}},
		"two sources": {only(metric{
			Type: "Pods", Pods: &autoscalingv2.PodsMetricSource{Metric: named, Target: aim("AverageValue")}, Resource: &autoscalingv2.ResourceMetricSource{},
		}), []string{"spec.metrics[0].resource: Forbidden: must populate the given metric source only"}},
		"pods": {only(metric{Type: "Pods", Pods: &autoscalingv2.PodsMetricSource{}}), []string{
			"spec.metrics[0].pods.metric.name: Required value: must specify a metric name",
			"spec.metrics[0].pods.target.type: Required value: must specify a metric target type",
			`spec.metrics[0].pods.target.type: Invalid value: "": must be either Utilization, Value, or AverageValue`,
			"spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue",
		}},
		"object": {only(metric{Type: "Object", Object: &autoscalingv2.ObjectMetricSource{
			DescribedObject: autoscalingv2.CrossVersionObjectReference{Kind: "Service", Name: "web"}, Metric: named, Target: autoscalingv2.MetricTarget{Type: "Value"},
		}}), []string{"spec.metrics[0].object.target.averageValue: Required value: must set either a target value or averageValue"}},
		"object of no version": {only(metric{Type: "Object", Object: &autoscalingv2.ObjectMetricSource{
			DescribedObject: autoscalingv2.CrossVersionObjectReference{APIVersion: "a/b/c", Kind: "Service", Name: "web"}, Metric: named,
			Target: autoscalingv2.MetricTarget{Type: "Value", Value: new(resource.MustParse("1"))},
		}}), []string{`spec.metrics[0].object.describedObject.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c`}},
		"external": {only(metric{Type: "External", External: &autoscalingv2.ExternalMetricSource{Metric: named, Target: aim("Value")}}), []string{
			"spec.metrics[0].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target",
		}},
		"external without": {only(metric{Type: "External", External: &autoscalingv2.ExternalMetricSource{Metric: named, Target: autoscalingv2.MetricTarget{Type: "Value"}}}), []string{
			"spec.metrics[0].external.target.averageValue: Required value: must set either a target value for metric or a per-pod target",
		}},
		"resource": {only(metric{Type: "Resource", Resource: &autoscalingv2.ResourceMetricSource{Target: aim("Utilization")}}), []string{
			"spec.metrics[0].resource.name: Required value: must specify a resource name",
			"spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization",
		}},
		"container": {only(metric{Type: "ContainerResource", ContainerResource: &autoscalingv2.ContainerResourceMetricSource{
			Name: "cpu", Target: autoscalingv2.MetricTarget{Type: "Utilization"},
		}}), []string{
			"spec.metrics[0].containerResource.container: Required value: must specify a container",
			"spec.metrics[0].containerResource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
		}},
		"not positive": {only(metric{Type: "Pods", Pods: &autoscalingv2.PodsMetricSource{Metric: named, Target: autoscalingv2.MetricTarget{
			Type: "AverageValue", Value: new(resource.MustParse("0")), AverageValue: new(resource.MustParse("-1")), AverageUtilization: new(int32(0)),
		}}}), []string{
			`spec.metrics[0].pods.target.value: Invalid value: "0": must be positive`,
			`spec.metrics[0].pods.target.averageValue: Invalid value: "-1": must be positive`,
			"spec.metrics[0].pods.target.averageUtilization: Invalid value: 0: must be greater than 0",
		}},
		"window": {rules(func(r *autoscalingv2.HPAScalingRules) { r.StabilizationWindowSeconds = new(int32(-1)) }), []string{
			"spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: -1: must be greater than or equal to zero",
		}},
		"long window": {rules(func(r *autoscalingv2.HPAScalingRules) { r.StabilizationWindowSeconds = new(int32(3601)) }), []string{
			"spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
		}},
		"select": {rules(func(r *autoscalingv2.HPAScalingRules) { r.SelectPolicy = new(autoscalingv2.ScalingPolicySelect("Any")) }), []string{
			`spec.behavior.scaleUp.selectPolicy: Unsupported value: "Any": supported values: "Disabled", "Max", "Min"`,
		}},
		"no policies": {rules(func(r *autoscalingv2.HPAScalingRules) { r.Policies = []autoscalingv2.HPAScalingPolicy{} }), []string{
			"spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
		}},
		"tolerance": {rules(func(r *autoscalingv2.HPAScalingRules) { r.Tolerance = new(resource.MustParse("-0.1")) }), []string{
			`spec.behavior.scaleUp.tolerance: Invalid value: "-100m": must be greater than or equal to 0`,
		}},
		"policy": {policy(autoscalingv2.HPAScalingPolicy{Type: "All"}), []string{
			`spec.behavior.scaleUp.policies[0].type: Unsupported value: "All": supported values: "Percent", "Pods"`,
			"spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
			"spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 0: must be greater than zero",
		}},
		"period": {policy(autoscalingv2.HPAScalingPolicy{Type: "Pods", Value: 1, PeriodSeconds: 1801}), []string{
			"spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
		}},
	})
	update(t, base, cases[hpa]{
		"target": {func(a hpa) { a.Spec.ScaleTargetRef.Name = "other" }, nil},
		"version": {func(a hpa) { a.Spec.ScaleTargetRef.APIVersion = "v1" }, []string{
			`spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group`,
		}},
		"max": {func(a hpa) { a.Spec.MaxReplicas = 1 }, []string{"spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`"}},
	})
	updateStatus(t, base, cases[hpa]{
		"fine": {func(a hpa) { a.Status.CurrentReplicas = 3 }, nil},
		"condition": {func(a hpa) {
			a.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{ObservedGeneration: new(int64(-1))}}
		}, []string{"status.conditions[0].observedGeneration: Invalid value: -1: must be greater than or equal to 0"}},
		"counts": {func(a hpa) { a.Status.CurrentReplicas, a.Status.DesiredReplicas = -1, -2 }, []string{
			"status.currentReplicas: Invalid value: -1: must be greater than or equal to 0", "status.desiredReplicas: Invalid value: -2: must be greater than or equal to 0",
		}},
	})
}
