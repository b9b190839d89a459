package autoscaling

import (
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
)

// horizontalPodAutoscaler has engine/controllers/podautoscaler set the scale of its
// target to what metrics ask for.
// https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
var horizontalPodAutoscaler = kind.Define[autoscalingv2.HorizontalPodAutoscaler, autoscalingv2.HorizontalPodAutoscalerList](kind.Definition[*autoscalingv2.HorizontalPodAutoscaler]{
	Names: kind.Names{
		GroupVersionKind: autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"),
		Plural:           "horizontalpodautoscalers", Singular: "horizontalpodautoscaler",
		ShortNames: []string{"hpa"}, Categories: []string{"all"}, Namespaced: true,
	},
	Status:  true,
	Order:   kind.Anywhere,
	Default: defaultAutoscaler,
	Lifecycle: kind.Lifecycle[*autoscalingv2.HorizontalPodAutoscaler]{
		Create: func(a *autoscalingv2.HorizontalPodAutoscaler) {
			a.Status = autoscalingv2.HorizontalPodAutoscalerStatus{}
		},
		Update:       func(a, old *autoscalingv2.HorizontalPodAutoscaler) { a.Status = old.Status },
		UpdateStatus: func(a, old *autoscalingv2.HorizontalPodAutoscaler) { a.Spec = old.Spec },
		Changed:      func(a, old *autoscalingv2.HorizontalPodAutoscaler) bool { return kind.Differ(a.Spec, old.Spec) },
	},
	Honours: honour.Types{
		honour.Of[autoscalingv2.HorizontalPodAutoscaler]():         {Honoured: "TypeMeta metadata spec status"},
		honour.Of[autoscalingv2.HorizontalPodAutoscalerSpec]():     {Honoured: "scaleTargetRef minReplicas maxReplicas metrics behavior"},
		honour.Of[autoscalingv2.CrossVersionObjectReference]():     {Honoured: "kind name apiVersion"},
		honour.Of[autoscalingv2.MetricSpec]():                      {Honoured: "type object pods resource containerResource external"},
		honour.Of[autoscalingv2.HorizontalPodAutoscalerBehavior](): {Honoured: "scaleUp scaleDown"},
		honour.Of[autoscalingv2.HPAScalingRules]():                 {Honoured: "stabilizationWindowSeconds selectPolicy policies tolerance"},
		honour.Of[autoscalingv2.HPAScalingPolicy]():                {Honoured: "type value periodSeconds"},
		honour.Of[autoscalingv2.ObjectMetricSource]():              {Honoured: "describedObject target metric"},
		honour.Of[autoscalingv2.PodsMetricSource]():                {Honoured: "metric target"},
		honour.Of[autoscalingv2.ResourceMetricSource]():            {Honoured: "name target"},
		honour.Of[autoscalingv2.ContainerResourceMetricSource]():   {Honoured: "name target container"},
		honour.Of[autoscalingv2.ExternalMetricSource]():            {Honoured: "metric target"},
		honour.Of[autoscalingv2.MetricIdentifier]():                {Honoured: "name selector"},
		honour.Of[autoscalingv2.MetricTarget]():                    {Honoured: "type value averageValue averageUtilization"},
	},
	Rules: kind.Rules[*autoscalingv2.HorizontalPodAutoscaler]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateAutoscaler,
		Create: validateTargetVersion,
		Update: validateAutoscalerUpdate,
		Status: func(a, _ *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
			var errs field.ErrorList
			for i, c := range a.Status.Conditions {
				if c.ObservedGeneration != nil {
					errs = append(errs, rule.NonNegative(*c.ObservedGeneration, rule.Status.Child("conditions").Index(i).Child("observedGeneration"))...)
				}
			}
			errs = append(errs, rule.NonNegative(a.Status.CurrentReplicas, rule.Status.Child("currentReplicas"))...)
			return append(errs, rule.NonNegative(a.Status.DesiredReplicas, rule.Status.Child("desiredReplicas"))...)
		},
	},
	Table: kind.Table[*autoscalingv2.HorizontalPodAutoscaler]{
		Columns: column.Define("Name", "Reference", "Targets", "MinPods", "MaxPods", "#Replicas", "Age"),
		Row: func(a *autoscalingv2.HorizontalPodAutoscaler, now time.Time) []any {
			return []any{
				a.Name, a.Spec.ScaleTargetRef.Kind + "/" + a.Spec.ScaleTargetRef.Name, targets(a.Spec.Metrics, a.Status.CurrentMetrics),
				least(a), int64(a.Spec.MaxReplicas), int64(a.Status.CurrentReplicas), column.Age(a, now),
			}
		},
	},
	Health: kind.Health[*autoscalingv2.HorizontalPodAutoscaler]{Of: autoscalerHealth},
})

// defaultUtilization is the percentage of requested CPU that is aimed at by default.
const defaultUtilization = 80

func defaultAutoscaler(a *autoscalingv2.HorizontalPodAutoscaler) {
	fill.Unset(&a.Spec.MinReplicas, 1)
	if len(a.Spec.Metrics) == 0 {
		a.Spec.Metrics = []autoscalingv2.MetricSpec{cpuMetric(defaultUtilization)}
	}
	if b := a.Spec.Behavior; b != nil {
		fill.Unset(&b.ScaleUp, autoscalingv2.HPAScalingRules{})
		fill.Unset(&b.ScaleUp.StabilizationWindowSeconds, 0)
		fill.Unset(&b.ScaleUp.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
		if b.ScaleUp.Policies == nil {
			b.ScaleUp.Policies = []autoscalingv2.HPAScalingPolicy{
				{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
				{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
			}
		}
		fill.Unset(&b.ScaleDown, autoscalingv2.HPAScalingRules{})
		// The window's default is the controller's.
		fill.Unset(&b.ScaleDown.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
		if b.ScaleDown.Policies == nil {
			b.ScaleDown.Policies = []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15}}
		}
	}
}

func cpuMetric(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name:   corev1.ResourceCPU,
		Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
	}}
}

// autoscalerHealth is kstatus'.
func autoscalerHealth(a *autoscalingv2.HorizontalPodAutoscaler, _ object.Reader) health.Result {
	if o := a.Status.ObservedGeneration; o != nil {
		if r, yes := health.Behind("HorizontalPodAutoscaler", a.Generation, *o); yes {
			return r
		}
	}
	return health.Result{Status: health.Current, Message: "Resource is current"}
}
