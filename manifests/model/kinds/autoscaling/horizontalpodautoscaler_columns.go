package autoscaling

import (
	"fmt"
	"strconv"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
)

// least is the number of pods that the autoscaler does not go below.
func least(a *autoscalingv2.HorizontalPodAutoscaler) string {
	if a.Spec.MinReplicas == nil {
		return "<unset>"
	}
	return strconv.Itoa(int(*a.Spec.MinReplicas))
}

// shownTargets is how many metrics a row shows.
const shownTargets = 2

// targets is what is used of what is aimed at, for each metric.
func targets(specs []autoscalingv2.MetricSpec, statuses []autoscalingv2.MetricStatus) string {
	if len(specs) == 0 {
		return "<none>"
	}
	var list []string
	for i, spec := range specs {
		var status autoscalingv2.MetricStatus
		if i < len(statuses) {
			status = statuses[i]
		}
		list = append(list, target(spec, status))
	}
	more := ""
	if extra := len(list) - shownTargets; extra > 0 {
		list, more = list[:shownTargets], fmt.Sprintf(" + %d more...", extra)
	}
	return strings.Join(list, ", ") + more
}

func target(spec autoscalingv2.MetricSpec, status autoscalingv2.MetricStatus) string {
	switch spec.Type {
	case autoscalingv2.ExternalMetricSourceType:
		if spec.External == nil {
			break
		}
		var now *autoscalingv2.MetricValueStatus
		if status.External != nil {
			now = &status.External.Current
		}
		if spec.External.Target.AverageValue != nil {
			return average(now) + "/" + spec.External.Target.AverageValue.String() + " (avg)"
		}
		return value(now) + "/" + quantity(spec.External.Target.Value)
	case autoscalingv2.PodsMetricSourceType:
		if spec.Pods == nil {
			break
		}
		var now *autoscalingv2.MetricValueStatus
		if status.Pods != nil {
			now = &status.Pods.Current
		}
		return average(now) + "/" + quantity(spec.Pods.Target.AverageValue)
	case autoscalingv2.ObjectMetricSourceType:
		if spec.Object == nil {
			break
		}
		var now *autoscalingv2.MetricValueStatus
		if status.Object != nil {
			now = &status.Object.Current
		}
		if spec.Object.Target.AverageValue != nil {
			return average(now) + "/" + spec.Object.Target.AverageValue.String() + " (avg)"
		}
		return value(now) + "/" + quantity(spec.Object.Target.Value)
	case autoscalingv2.ResourceMetricSourceType:
		if spec.Resource == nil {
			break
		}
		var now *autoscalingv2.MetricValueStatus
		if status.Resource != nil {
			now = &status.Resource.Current
		}
		return string(spec.Resource.Name) + ": " + resourceTarget(spec.Resource.Target, now)
	case autoscalingv2.ContainerResourceMetricSourceType:
		if spec.ContainerResource == nil {
			break
		}
		var now *autoscalingv2.MetricValueStatus
		if status.ContainerResource != nil {
			now = &status.ContainerResource.Current
		}
		return string(spec.ContainerResource.Name) + ": " + resourceTarget(spec.ContainerResource.Target, now)
	}
	return "<unknown type>"
}

func resourceTarget(t autoscalingv2.MetricTarget, now *autoscalingv2.MetricValueStatus) string {
	if t.AverageValue != nil {
		return average(now) + "/" + t.AverageValue.String()
	}
	current, aim := "<unknown>", "<auto>"
	if now != nil && now.AverageUtilization != nil {
		current = fmt.Sprintf("%d%%", *now.AverageUtilization)
	}
	if t.AverageUtilization != nil {
		aim = fmt.Sprintf("%d%%", *t.AverageUtilization)
	}
	return current + "/" + aim
}

func average(now *autoscalingv2.MetricValueStatus) string {
	if now == nil {
		return "<unknown>"
	}
	return quantity(now.AverageValue)
}

func value(now *autoscalingv2.MetricValueStatus) string {
	if now == nil {
		return "<unknown>"
	}
	return quantity(now.Value)
}

func quantity(q *resource.Quantity) string {
	if q == nil {
		return "<unknown>"
	}
	return q.String()
}
