package podautoscaler

import (
	"context"
	"errors"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// proposal is what one metric asks for.
type proposal struct {
	replicas int32
	// name is what events call the metric.
	name   string
	status autoscalingv2.MetricStatus
	// reason is that of a failure.
	reason string
	err    error
	// what is what err is told of as, beside other metrics.
	what string
}

// propose asks for the figures of one metric, and calculates.
func (c *controller) propose(ctx context.Context, calc Calculator, namespace string, selector labels.Selector, m *autoscalingv2.MetricSpec) proposal {
	switch {
	case m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil:
		return c.object(ctx, calc, namespace, m.Object)
	case m.Type == autoscalingv2.PodsMetricSourceType && m.Pods != nil:
		return c.podsMetric(ctx, calc, namespace, selector, m.Pods)
	case m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil:
		p, value := c.resource(ctx, calc, namespace, selector, m.Resource.Name, "", m.Resource.Target)
		if p.reason, p.what = "FailedGetResourceMetric", fmt.Sprintf("%s resource", m.Resource.Name); p.err == nil {
			p.status = autoscalingv2.MetricStatus{Type: m.Type, Resource: &autoscalingv2.ResourceMetricStatus{Name: m.Resource.Name, Current: value}}
		}
		return p
	case m.Type == autoscalingv2.ContainerResourceMetricSourceType && m.ContainerResource != nil:
		s := m.ContainerResource
		p, value := c.resource(ctx, calc, namespace, selector, s.Name, s.Container, s.Target)
		if p.reason, p.what = "FailedGetContainerResourceMetric", s.Container+" container"; p.err == nil {
			p.status = autoscalingv2.MetricStatus{Type: m.Type, ContainerResource: &autoscalingv2.ContainerResourceMetricStatus{Name: s.Name, Container: s.Container, Current: value}}
		}
		return p
	case m.Type == autoscalingv2.ExternalMetricSourceType && m.External != nil:
		return c.external(ctx, calc, namespace, m.External)
	}
	return proposal{reason: "InvalidMetricSourceType", err: fmt.Errorf("unknown metric source type %q", m.Type)}
}

func (c *controller) resource(ctx context.Context, calc Calculator, namespace string, selector labels.Selector, name corev1.ResourceName, container string, target autoscalingv2.MetricTarget) (proposal, autoscalingv2.MetricValueStatus) {
	var p proposal
	fail := func(format string, args ...any) (proposal, autoscalingv2.MetricValueStatus) {
		p.err = fmt.Errorf(format, args...)
		return p, autoscalingv2.MetricValueStatus{}
	}
	if target.AverageValue == nil && target.AverageUtilization == nil {
		return fail("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set")
	}
	metrics, err := c.metrics.Resource(ctx, namespace, selector, name, container)
	if err != nil {
		err = fmt.Errorf("unable to get metrics for resource %s: %w", name, err)
	}
	if target.AverageValue != nil {
		var average int64
		if err == nil {
			p.replicas, average, err = calc.Average(metrics, name, target.AverageValue.MilliValue())
		}
		if err != nil {
			return fail("failed to get %s usage: %w", name, err)
		}
		p.name = fmt.Sprintf("%s resource", name)
		return p, autoscalingv2.MetricValueStatus{AverageValue: quantity(name, average)}
	}
	var percent int32
	var average int64
	if err == nil {
		p.replicas, percent, average, err = calc.Utilization(metrics, name, container, *target.AverageUtilization)
	}
	if err != nil {
		return fail("failed to get %s utilization: %w", name, err)
	}
	p.name = fmt.Sprintf("%s resource utilization (percentage of request)", name)
	if container != "" {
		p.name = fmt.Sprintf("%s container resource utilization (percentage of request)", name)
	}
	return p, autoscalingv2.MetricValueStatus{AverageUtilization: &percent, AverageValue: quantity(name, average)}
}

func (c *controller) podsMetric(ctx context.Context, calc Calculator, namespace string, selector labels.Selector, s *autoscalingv2.PodsMetricSource) proposal {
	p := proposal{name: "pods metric " + s.Metric.Name, reason: "FailedGetPodsMetric", what: "pods"}
	of, err := selectorOf(s.Metric)
	if err != nil {
		return p.failed(err)
	}
	if s.Target.AverageValue == nil {
		return p.failed(errors.New("invalid pods metric source: no average value target was set"))
	}
	metrics, err := c.metrics.Pods(ctx, namespace, selector, s.Metric.Name, of)
	if err != nil {
		return p.failed(fmt.Errorf("unable to get metric %s: %w", s.Metric.Name, err))
	}
	var average int64
	if p.replicas, average, err = calc.Average(metrics, "", s.Target.AverageValue.MilliValue()); err != nil {
		return p.failed(err)
	}
	p.status = autoscalingv2.MetricStatus{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricStatus{
		Metric: s.Metric, Current: autoscalingv2.MetricValueStatus{AverageValue: milli(average)},
	}}
	return p
}

func (c *controller) object(ctx context.Context, calc Calculator, namespace string, s *autoscalingv2.ObjectMetricSource) proposal {
	p := proposal{name: fmt.Sprintf("%s metric %s", s.DescribedObject.Kind, s.Metric.Name), reason: "FailedGetObjectMetric", what: "object"}
	of, err := selectorOf(s.Metric)
	if err != nil {
		return p.failed(err)
	}
	value, err := c.metrics.Object(ctx, namespace, s.DescribedObject, s.Metric.Name, of)
	if err != nil {
		err = fmt.Errorf("unable to get metric %s on %s %s/%s: %w", s.Metric.Name, s.DescribedObject.Kind, namespace, s.DescribedObject.Name, err)
	}
	status := &autoscalingv2.ObjectMetricStatus{DescribedObject: s.DescribedObject, Metric: s.Metric}
	switch {
	case err != nil && s.Target.AverageValue != nil && s.Target.Type == autoscalingv2.AverageValueMetricType:
		return p.failed(fmt.Errorf("failed to get %s object metric: %w", s.Metric.Name, err))
	case err != nil:
		return p.failed(err)
	case s.Target.Type == autoscalingv2.ValueMetricType && s.Target.Value != nil:
		if p.replicas, err = calc.Value(value, s.Target.Value.MilliValue()); err != nil {
			return p.failed(err)
		}
		status.Current.Value = milli(value)
	case s.Target.Type == autoscalingv2.AverageValueMetricType && s.Target.AverageValue != nil:
		var average int64
		p.replicas, average = calc.PerPod(value, s.Target.AverageValue.MilliValue())
		p.name = fmt.Sprintf("external metric %s(%+v)", s.Metric.Name, s.Metric.Selector)
		status.Current.AverageValue = milli(average)
	default:
		return p.failed(errors.New("invalid object metric source: neither a value target nor an average value target was set"))
	}
	p.status = autoscalingv2.MetricStatus{Type: autoscalingv2.ObjectMetricSourceType, Object: status}
	return p
}

func (c *controller) external(ctx context.Context, calc Calculator, namespace string, s *autoscalingv2.ExternalMetricSource) proposal {
	p := proposal{name: fmt.Sprintf("external metric %s(%+v)", s.Metric.Name, s.Metric.Selector), reason: "FailedGetExternalMetric", what: s.Metric.Name + " external"}
	of, err := selectorOf(s.Metric)
	if err != nil {
		return p.failed(err)
	}
	value, err := c.metrics.External(ctx, namespace, s.Metric.Name, of)
	if err != nil {
		err = fmt.Errorf("unable to get external metric %s/%s/%+v: %w", namespace, s.Metric.Name, s.Metric.Selector, err)
	}
	status := &autoscalingv2.ExternalMetricStatus{Metric: s.Metric}
	switch {
	case s.Target.AverageValue != nil:
		if err != nil {
			return p.failed(fmt.Errorf("failed to get %s external metric: %w", s.Metric.Name, err))
		}
		var average int64
		p.replicas, average = calc.PerPod(value, s.Target.AverageValue.MilliValue())
		status.Current.AverageValue = milli(average)
	case s.Target.Value != nil:
		if err == nil {
			p.replicas, err = calc.Value(value, s.Target.Value.MilliValue())
		}
		if err != nil {
			return p.failed(fmt.Errorf("failed to get external metric %s: %w", s.Metric.Name, err))
		}
		status.Current.Value = milli(value)
	default:
		return p.failed(errors.New("invalid external metric source: neither a value target nor an average value target was set"))
	}
	p.status = autoscalingv2.MetricStatus{Type: autoscalingv2.ExternalMetricSourceType, External: status}
	return p
}

// told is why a metric is not known, beside others.
func (p proposal) told() error {
	if p.what == "" {
		return p.err
	}
	return fmt.Errorf("failed to get %s metric value: %w", p.what, p.err)
}

func (p proposal) failed(err error) proposal {
	p.err = err
	return p
}

func selectorOf(id autoscalingv2.MetricIdentifier) (labels.Selector, error) {
	if id.Selector == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(id.Selector)
}

// quantity is written as metrics of a resource are.
func quantity(name corev1.ResourceName, n int64) *resource.Quantity {
	if name == corev1.ResourceMemory {
		return resource.NewMilliQuantity(n, resource.BinarySI)
	}
	return milli(n)
}

func milli(n int64) *resource.Quantity { return resource.NewMilliQuantity(n, resource.DecimalSI) }
