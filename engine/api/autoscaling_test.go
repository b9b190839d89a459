package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/object"
)

// A HorizontalPodAutoscaler is one object in both versions: what autoscaling/v1 has no
// fields for is in annotations, and comes back from them; watches, server-side apply and
// the status speak either.
func TestAutoscalersInBothVersions(t *testing.T) {
	s := apitest.Start(t)
	kubectl(t, s, deployment, "create", "-f", "-")
	expect(t, s, "", args("autoscale deployment web --min=2 --max=5 --cpu-percent=70"), "horizontalpodautoscaler.autoscaling/web autoscaled")
	expect(t, s, "", args("get hpa web"), "REFERENCE        TARGETS", "Deployment/web   cpu: <unknown>/70%   2         5         0")
	expect(t, s, "", args("get horizontalpodautoscalers.v1.autoscaling web -o yaml"), "apiVersion: autoscaling/v1\n", "targetCPUUtilizationPercentage: 70\n", "minReplicas: 2\n")
	expect(t, s, "", args("get horizontalpodautoscalers.v1.autoscaling"), "Deployment/web   cpu: <unknown>/70%")
	expect(t, s, "", args("explain hpa.spec.behavior.scaleDown.policies.periodSeconds"), "VERSION:    v2")
	expect(t, s, "", args("explain hpa.spec.targetCPUUtilizationPercentage --api-version=autoscaling/v1"), "VERSION:    v1")

	const old = `
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata:
  name: old
  annotations:
    keep: it
    autoscaling.alpha.kubernetes.io/metrics: '[{"type":"External","external":{"metricName":"queue","targetAverageValue":"30"}}]'
    autoscaling.alpha.kubernetes.io/behavior: '{"ScaleUp":{"StabilizationWindowSeconds":5,"Policies":[{"Type":"Pods","Value":2,"PeriodSeconds":60}]}}'
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, maxReplicas: 4, targetCPUUtilizationPercentage: 60}
`
	kubectl(t, s, old, "apply", "--server-side", "-f", "-")
	kubectl(t, s, old, "apply", "--server-side", "-f", "-")
	stored, _ := s.Store.Get(object.Key{GroupKind: schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}, Namespace: "default", Name: "old"}).(*autoscalingv2.HorizontalPodAutoscaler)
	if stored == nil || len(stored.Spec.Metrics) != 2 || stored.Spec.Metrics[1].External.Metric.Name != "queue" || stored.Spec.Metrics[1].External.Target.AverageValue.Value() != 30 ||
		*stored.Spec.Behavior.ScaleUp.StabilizationWindowSeconds != 5 || stored.Spec.Behavior.ScaleDown == nil || len(stored.Annotations) != 1 || *stored.Spec.MinReplicas != 1 {
		t.Fatalf("stored: %+v", stored)
	}
	out := kubectl(t, s, "", "get", "horizontalpodautoscalers.v1.autoscaling", "old", "-o", "jsonpath={.metadata.annotations}")
	var annotations map[string]string
	if err := json.Unmarshal([]byte(out), &annotations); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"keep": "it", "autoscaling.alpha.kubernetes.io/metrics": `[{"type":"External","external":{"metricName":"queue","targetAverageValue":"30"}}]`,
		"autoscaling.alpha.kubernetes.io/behavior": `"Policies":[{"Type":"Pods","Value":2,"PeriodSeconds":60}]`,
	} {
		if !strings.Contains(annotations[name], want) {
			t.Errorf("%s: %s, want %s", name, annotations[name], want)
		}
	}
	client := kubernetes.NewForConfigOrDie(s.Config)
	v1, v2 := client.AutoscalingV1().HorizontalPodAutoscalers("default"), client.AutoscalingV2().HorizontalPodAutoscalers("default")
	now, err := v2.Get(t.Context(), "old", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	utilization := int32(42)
	now.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
		CurrentReplicas: 3, DesiredReplicas: 4,
		CurrentMetrics: []autoscalingv2.MetricStatus{{Type: "Resource", Resource: &autoscalingv2.ResourceMetricStatus{Name: "cpu", Current: autoscalingv2.MetricValueStatus{AverageUtilization: &utilization}}}},
		Conditions:     []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: "AbleToScale", Status: "True", Reason: "ReadyForNewScale"}},
	}
	if _, err := v2.UpdateStatus(t.Context(), now, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	older, err := v1.Get(t.Context(), "old", metav1.GetOptions{})
	if err != nil || older.Status.DesiredReplicas != 4 || older.Status.CurrentCPUUtilizationPercentage == nil || *older.Status.CurrentCPUUtilizationPercentage != 42 ||
		!strings.Contains(older.Annotations["autoscaling.alpha.kubernetes.io/conditions"], `"reason":"ReadyForNewScale"`) {
		t.Fatalf("%+v, %v", older, err)
	}
	older.Status.CurrentReplicas = 2
	if _, err := v1.UpdateStatus(t.Context(), older, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if now, err = v2.Get(t.Context(), "old", metav1.GetOptions{}); err != nil || now.Status.CurrentReplicas != 2 || len(now.Status.Conditions) != 1 || len(now.Spec.Metrics) != 2 {
		t.Errorf("a status that was written in the older version: %+v, %v", now.Status, err)
	}
	list, err := v1.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	w, err := v1.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	kubectl(t, s, "", "delete", "hpa", "old")
	if e := <-w.ResultChan(); e.Type != "DELETED" {
		t.Errorf("%v", e)
	}
	refuse(t, s, strings.Replace(old, "maxReplicas: 4", "maxReplicas: 0", 1), args("create -f -"), "spec.maxReplicas: Required value")
	expect(t, s, "", args("describe hpa web"), "Reference:", "Deployment/web", "resource cpu on pods  (as a percentage of request):  <unknown> / 70%")
}
