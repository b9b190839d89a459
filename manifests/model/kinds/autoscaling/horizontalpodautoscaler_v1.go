package autoscaling

import (
	"encoding/json"
	"errors"
	"maps"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

// The annotations have what autoscaling/v1 has no fields for.
const (
	metricsAnnotation    = "autoscaling.alpha.kubernetes.io/metrics"
	currentAnnotation    = "autoscaling.alpha.kubernetes.io/current-metrics"
	conditionsAnnotation = "autoscaling.alpha.kubernetes.io/conditions"
	behaviorAnnotation   = "autoscaling.alpha.kubernetes.io/behavior"
)

var horizontalPodAutoscalerV1 = &kind.Older{
	Names: func() kind.Names {
		n := horizontalPodAutoscaler.Names
		n.GroupVersionKind = autoscalingv1.SchemeGroupVersion.WithKind(n.Kind)
		return n
	}(),
	Of:      horizontalPodAutoscaler,
	New:     func() object.Object { return &autoscalingv1.HorizontalPodAutoscaler{} },
	NewList: func() runtime.Object { return &autoscalingv1.HorizontalPodAutoscalerList{} },
}

func addConversions(s *runtime.Scheme) error {
	return errors.Join(
		s.AddConversionFunc((*autoscalingv2.HorizontalPodAutoscaler)(nil), (*autoscalingv1.HorizontalPodAutoscaler)(nil), func(from, to any, _ conversion.Scope) error {
			*to.(*autoscalingv1.HorizontalPodAutoscaler) = *toV1(from.(*autoscalingv2.HorizontalPodAutoscaler))
			return nil
		}),
		s.AddConversionFunc((*autoscalingv1.HorizontalPodAutoscaler)(nil), (*autoscalingv2.HorizontalPodAutoscaler)(nil), func(from, to any, _ conversion.Scope) error {
			*to.(*autoscalingv2.HorizontalPodAutoscaler) = *fromV1(from.(*autoscalingv1.HorizontalPodAutoscaler))
			return nil
		}),
		s.AddConversionFunc((*autoscalingv2.HorizontalPodAutoscalerList)(nil), (*autoscalingv1.HorizontalPodAutoscalerList)(nil), func(from, to any, _ conversion.Scope) error {
			in, out := from.(*autoscalingv2.HorizontalPodAutoscalerList), to.(*autoscalingv1.HorizontalPodAutoscalerList)
			out.ListMeta, out.Items = in.ListMeta, make([]autoscalingv1.HorizontalPodAutoscaler, len(in.Items))
			for i := range in.Items {
				out.Items[i] = *toV1(&in.Items[i])
			}
			return nil
		}),
		s.AddConversionFunc((*autoscalingv1.HorizontalPodAutoscalerList)(nil), (*autoscalingv2.HorizontalPodAutoscalerList)(nil), func(from, to any, _ conversion.Scope) error {
			in, out := from.(*autoscalingv1.HorizontalPodAutoscalerList), to.(*autoscalingv2.HorizontalPodAutoscalerList)
			out.ListMeta, out.Items = in.ListMeta, make([]autoscalingv2.HorizontalPodAutoscaler, len(in.Items))
			for i := range in.Items {
				out.Items[i] = *fromV1(&in.Items[i])
			}
			return nil
		}),
	)
}

// plainCPU returns the utilization of CPU that a metric aims at, which v1 has a field
// for; nil if it is something else.
func plainCPU(m *autoscalingv2.MetricSpec) *int32 {
	if m.Type != autoscalingv2.ResourceMetricSourceType || m.Resource == nil || m.Resource.Name != corev1.ResourceCPU {
		return nil
	}
	return m.Resource.Target.AverageUtilization
}

func toV1(a *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv1.HorizontalPodAutoscaler {
	v := &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: a.ObjectMeta}
	v.Spec.ScaleTargetRef = autoscalingv1.CrossVersionObjectReference(a.Spec.ScaleTargetRef)
	v.Spec.MinReplicas, v.Spec.MaxReplicas = a.Spec.MinReplicas, a.Spec.MaxReplicas
	var others []autoscalingv1.MetricSpec
	for i := range a.Spec.Metrics {
		m := &a.Spec.Metrics[i]
		cpu := plainCPU(m)
		if cpu != nil && v.Spec.TargetCPUUtilizationPercentage == nil {
			v.Spec.TargetCPUUtilizationPercentage = cpu
		}
		if cpu == nil {
			others = append(others, metricToV1(m))
		}
	}
	s := &a.Status
	v.Status = autoscalingv1.HorizontalPodAutoscalerStatus{
		ObservedGeneration: s.ObservedGeneration, LastScaleTime: s.LastScaleTime, CurrentReplicas: s.CurrentReplicas, DesiredReplicas: s.DesiredReplicas,
	}
	var current []autoscalingv1.MetricStatus
	for i := range s.CurrentMetrics {
		m := &s.CurrentMetrics[i]
		if m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil && m.Resource.Name == corev1.ResourceCPU && m.Resource.Current.AverageUtilization != nil {
			v.Status.CurrentCPUUtilizationPercentage = m.Resource.Current.AverageUtilization
		}
		current = append(current, statusToV1(m))
	}
	conditions := make([]autoscalingv1.HorizontalPodAutoscalerCondition, len(s.Conditions))
	for i, c := range s.Conditions {
		conditions[i] = autoscalingv1.HorizontalPodAutoscalerCondition{
			Type: autoscalingv1.HorizontalPodAutoscalerConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime,
			Reason: c.Reason, Message: c.Message, ObservedGeneration: c.ObservedGeneration,
		}
	}
	v.Annotations = withoutOwn(a.Annotations)
	put := func(name string, set bool, what any) {
		if !set {
			return
		}
		if text, err := json.Marshal(what); err == nil {
			if v.Annotations == nil {
				v.Annotations = map[string]string{}
			}
			v.Annotations[name] = string(text)
		}
	}
	put(metricsAnnotation, len(others) > 0, others)
	put(currentAnnotation, len(current) > 0, current)
	put(conditionsAnnotation, len(conditions) > 0, conditions)
	put(behaviorAnnotation, a.Spec.Behavior != nil, behaviorToV1(a.Spec.Behavior))
	return v
}

func fromV1(v *autoscalingv1.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscaler {
	a := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: v.ObjectMeta}
	a.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference(v.Spec.ScaleTargetRef)
	a.Spec.MinReplicas, a.Spec.MaxReplicas = v.Spec.MinReplicas, v.Spec.MaxReplicas
	if cpu := v.Spec.TargetCPUUtilizationPercentage; cpu != nil {
		a.Spec.Metrics = append(a.Spec.Metrics, cpuMetric(*cpu))
	}
	// What cannot be read is left out, as Kubernetes does.
	get := func(name string, into any) bool {
		text, ok := v.Annotations[name]
		return ok && json.Unmarshal([]byte(text), into) == nil
	}
	var others []autoscalingv1.MetricSpec
	if get(metricsAnnotation, &others) {
		for i := range others {
			a.Spec.Metrics = append(a.Spec.Metrics, metricFromV1(&others[i]))
		}
	}
	var behavior behaviorV1 // Kubernetes writes its own names, and reads either
	if get(behaviorAnnotation, &behavior) {
		a.Spec.Behavior = behavior.toV2()
	}
	s := &v.Status
	a.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
		ObservedGeneration: s.ObservedGeneration, LastScaleTime: s.LastScaleTime, CurrentReplicas: s.CurrentReplicas, DesiredReplicas: s.DesiredReplicas,
	}
	var current []autoscalingv1.MetricStatus
	if get(currentAnnotation, &current) {
		for i := range current {
			a.Status.CurrentMetrics = append(a.Status.CurrentMetrics, statusFromV1(&current[i]))
		}
	} else if cpu := s.CurrentCPUUtilizationPercentage; cpu != nil {
		a.Status.CurrentMetrics = []autoscalingv2.MetricStatus{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricStatus{
			Name: corev1.ResourceCPU, Current: autoscalingv2.MetricValueStatus{AverageUtilization: cpu},
		}}}
	}
	var conditions []autoscalingv2.HorizontalPodAutoscalerCondition // the fields of both are the same
	if get(conditionsAnnotation, &conditions) {
		a.Status.Conditions = conditions
	}
	a.Annotations = withoutOwn(v.Annotations)
	defaultAutoscaler(a)
	return a
}

// withoutOwn leaves out the annotations that stand for fields.
func withoutOwn(annotations map[string]string) map[string]string {
	out := maps.Clone(annotations)
	maps.DeleteFunc(out, func(name, _ string) bool {
		switch name {
		case metricsAnnotation, currentAnnotation, conditionsAnnotation, behaviorAnnotation:
			return true
		}
		return false
	})
	if len(out) == 0 {
		return nil
	}
	return out
}
