package autoscaling

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

func metricToV1(m *autoscalingv2.MetricSpec) autoscalingv1.MetricSpec {
	v := autoscalingv1.MetricSpec{Type: autoscalingv1.MetricSourceType(m.Type)}
	if s := m.Object; s != nil {
		v.Object = &autoscalingv1.ObjectMetricSource{
			Target: autoscalingv1.CrossVersionObjectReference(s.DescribedObject), MetricName: s.Metric.Name, Selector: s.Metric.Selector,
			TargetValue: ptr.Deref(s.Target.Value, resource.Quantity{}), AverageValue: s.Target.AverageValue,
		}
	}
	if s := m.Pods; s != nil {
		v.Pods = &autoscalingv1.PodsMetricSource{MetricName: s.Metric.Name, Selector: s.Metric.Selector, TargetAverageValue: ptr.Deref(s.Target.AverageValue, resource.Quantity{})}
	}
	if s := m.Resource; s != nil {
		v.Resource = &autoscalingv1.ResourceMetricSource{Name: s.Name, TargetAverageUtilization: s.Target.AverageUtilization, TargetAverageValue: s.Target.AverageValue}
	}
	if s := m.ContainerResource; s != nil {
		v.ContainerResource = &autoscalingv1.ContainerResourceMetricSource{
			Name: s.Name, Container: s.Container, TargetAverageUtilization: s.Target.AverageUtilization, TargetAverageValue: s.Target.AverageValue,
		}
	}
	if s := m.External; s != nil {
		v.External = &autoscalingv1.ExternalMetricSource{
			MetricName: s.Metric.Name, MetricSelector: s.Metric.Selector, TargetValue: s.Target.Value, TargetAverageValue: s.Target.AverageValue,
		}
	}
	return v
}

func metricFromV1(v *autoscalingv1.MetricSpec) autoscalingv2.MetricSpec {
	m := autoscalingv2.MetricSpec{Type: autoscalingv2.MetricSourceType(v.Type)}
	if s := v.Object; s != nil {
		m.Object = &autoscalingv2.ObjectMetricSource{
			DescribedObject: autoscalingv2.CrossVersionObjectReference(s.Target), Metric: autoscalingv2.MetricIdentifier{Name: s.MetricName, Selector: s.Selector},
			Target: valueTarget(nonZero(s.TargetValue), s.AverageValue),
		}
	}
	if s := v.Pods; s != nil {
		average := s.TargetAverageValue
		m.Pods = &autoscalingv2.PodsMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: s.MetricName, Selector: s.Selector}, Target: valueTarget(nil, &average)}
	}
	if s := v.Resource; s != nil {
		m.Resource = &autoscalingv2.ResourceMetricSource{Name: s.Name, Target: resourceTargetOf(s.TargetAverageUtilization, s.TargetAverageValue)}
	}
	if s := v.ContainerResource; s != nil {
		m.ContainerResource = &autoscalingv2.ContainerResourceMetricSource{
			Name: s.Name, Container: s.Container, Target: resourceTargetOf(s.TargetAverageUtilization, s.TargetAverageValue),
		}
	}
	if s := v.External; s != nil {
		m.External = &autoscalingv2.ExternalMetricSource{
			Metric: autoscalingv2.MetricIdentifier{Name: s.MetricName, Selector: s.MetricSelector}, Target: valueTarget(s.TargetValue, s.TargetAverageValue),
		}
	}
	return m
}

func valueTarget(value, average *resource.Quantity) autoscalingv2.MetricTarget {
	t := autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: value, AverageValue: average}
	if average != nil {
		t.Type = autoscalingv2.AverageValueMetricType
	}
	return t
}

func resourceTargetOf(utilization *int32, average *resource.Quantity) autoscalingv2.MetricTarget {
	t := autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: utilization, AverageValue: average}
	if average != nil {
		t.Type = autoscalingv2.AverageValueMetricType
	}
	return t
}

func nonZero(q resource.Quantity) *resource.Quantity {
	if q.IsZero() {
		return nil
	}
	return &q
}

func statusToV1(m *autoscalingv2.MetricStatus) autoscalingv1.MetricStatus {
	v := autoscalingv1.MetricStatus{Type: autoscalingv1.MetricSourceType(m.Type)}
	if s := m.Object; s != nil {
		v.Object = &autoscalingv1.ObjectMetricStatus{
			Target: autoscalingv1.CrossVersionObjectReference(s.DescribedObject), MetricName: s.Metric.Name, Selector: s.Metric.Selector,
			CurrentValue: ptr.Deref(s.Current.Value, resource.Quantity{}), AverageValue: s.Current.AverageValue,
		}
	}
	if s := m.Pods; s != nil {
		v.Pods = &autoscalingv1.PodsMetricStatus{MetricName: s.Metric.Name, Selector: s.Metric.Selector, CurrentAverageValue: ptr.Deref(s.Current.AverageValue, resource.Quantity{})}
	}
	if s := m.Resource; s != nil {
		v.Resource = &autoscalingv1.ResourceMetricStatus{
			Name: s.Name, CurrentAverageUtilization: s.Current.AverageUtilization, CurrentAverageValue: ptr.Deref(s.Current.AverageValue, resource.Quantity{}),
		}
	}
	if s := m.ContainerResource; s != nil {
		v.ContainerResource = &autoscalingv1.ContainerResourceMetricStatus{
			Name: s.Name, Container: s.Container, CurrentAverageUtilization: s.Current.AverageUtilization,
			CurrentAverageValue: ptr.Deref(s.Current.AverageValue, resource.Quantity{}),
		}
	}
	if s := m.External; s != nil {
		v.External = &autoscalingv1.ExternalMetricStatus{
			MetricName: s.Metric.Name, MetricSelector: s.Metric.Selector,
			CurrentValue: ptr.Deref(s.Current.Value, resource.Quantity{}), CurrentAverageValue: s.Current.AverageValue,
		}
	}
	return v
}

func statusFromV1(v *autoscalingv1.MetricStatus) autoscalingv2.MetricStatus {
	m := autoscalingv2.MetricStatus{Type: autoscalingv2.MetricSourceType(v.Type)}
	if s := v.Object; s != nil {
		m.Object = &autoscalingv2.ObjectMetricStatus{
			DescribedObject: autoscalingv2.CrossVersionObjectReference(s.Target), Metric: autoscalingv2.MetricIdentifier{Name: s.MetricName, Selector: s.Selector},
			Current: autoscalingv2.MetricValueStatus{Value: nonZero(s.CurrentValue), AverageValue: s.AverageValue},
		}
	}
	if s := v.Pods; s != nil {
		average := s.CurrentAverageValue
		m.Pods = &autoscalingv2.PodsMetricStatus{Metric: autoscalingv2.MetricIdentifier{Name: s.MetricName, Selector: s.Selector}, Current: autoscalingv2.MetricValueStatus{AverageValue: &average}}
	}
	if s := v.Resource; s != nil {
		average := s.CurrentAverageValue
		m.Resource = &autoscalingv2.ResourceMetricStatus{Name: s.Name, Current: autoscalingv2.MetricValueStatus{AverageUtilization: s.CurrentAverageUtilization, AverageValue: &average}}
	}
	if s := v.ContainerResource; s != nil {
		average := s.CurrentAverageValue
		m.ContainerResource = &autoscalingv2.ContainerResourceMetricStatus{
			Name: s.Name, Container: s.Container, Current: autoscalingv2.MetricValueStatus{AverageUtilization: s.CurrentAverageUtilization, AverageValue: &average},
		}
	}
	if s := v.External; s != nil {
		m.External = &autoscalingv2.ExternalMetricStatus{
			Metric:  autoscalingv2.MetricIdentifier{Name: s.MetricName, Selector: s.MetricSelector},
			Current: autoscalingv2.MetricValueStatus{Value: nonZero(s.CurrentValue), AverageValue: s.CurrentAverageValue},
		}
	}
	return m
}

// behaviorV1 is a behavior in an annotation.
type behaviorV1 struct {
	ScaleUp, ScaleDown *rulesV1
}

type rulesV1 struct {
	StabilizationWindowSeconds *int32
	SelectPolicy               *autoscalingv2.ScalingPolicySelect
	Policies                   []policyV1
	Tolerance                  *resource.Quantity
}

type policyV1 struct {
	Type          autoscalingv2.HPAScalingPolicyType
	Value         int32
	PeriodSeconds int32
}

func behaviorToV1(b *autoscalingv2.HorizontalPodAutoscalerBehavior) behaviorV1 {
	if b == nil {
		return behaviorV1{}
	}
	rules := func(r *autoscalingv2.HPAScalingRules) *rulesV1 {
		if r == nil {
			return nil
		}
		v := &rulesV1{StabilizationWindowSeconds: r.StabilizationWindowSeconds, SelectPolicy: r.SelectPolicy, Tolerance: r.Tolerance}
		for _, p := range r.Policies {
			v.Policies = append(v.Policies, policyV1(p))
		}
		return v
	}
	return behaviorV1{rules(b.ScaleUp), rules(b.ScaleDown)}
}

func (b behaviorV1) toV2() *autoscalingv2.HorizontalPodAutoscalerBehavior {
	rules := func(v *rulesV1) *autoscalingv2.HPAScalingRules {
		if v == nil {
			return nil
		}
		r := &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: v.StabilizationWindowSeconds, SelectPolicy: v.SelectPolicy, Tolerance: v.Tolerance}
		for _, p := range v.Policies {
			r.Policies = append(r.Policies, autoscalingv2.HPAScalingPolicy(p))
		}
		return r
	}
	return &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: rules(b.ScaleUp), ScaleDown: rules(b.ScaleDown)}
}
