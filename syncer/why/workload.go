package why

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/wire"
)

const scaledToZero = "ScaledToZero"

// content is an object as JSON has it, whatever its kind.
func content(obj object.Object) map[string]any {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil // no object of the store is like that
	}
	return m
}

func childName(obj object.Object) string {
	if k, ok := scheme.ForObject(obj); ok {
		return k.Kind + "/" + obj.GetName()
	}
	return obj.GetName()
}

// stateOfWorkload is the state by the health.
func stateOfWorkload(res health.Result, obj object.Object) wire.WhyState {
	m := content(obj)
	suspended, _, _ := unstructured.NestedBool(m, "spec", "suspend")
	switch {
	case res.Status == health.Terminating:
		return wire.WhyTerminating
	case res.Status == health.Failed:
		return wire.WhyFailed
	case suspended:
		return wire.WhySuspended
	case res.Status == health.InProgress:
		return wire.WhyWaiting
	case condition(m, "Complete") != nil:
		return wire.WhyCompleted
	}
	return wire.WhyRunning
}

// condition returns a condition that is True; nil if it is not.
func condition(m map[string]any, name string) map[string]any {
	return conditionIs(m, name, "True")
}

func conditionIs(m map[string]any, name, status string) map[string]any {
	list, _, _ := unstructured.NestedSlice(m, "status", "conditions")
	for _, c := range list {
		if c, ok := c.(map[string]any); ok && c["type"] == name && c["status"] == status {
			return c
		}
	}
	return nil
}

// ofWorkload are the reasons that are not its pods'.
func ofWorkload(obj object.Object, events []*corev1.Event) (list []found) {
	m := content(obj)
	if at := obj.GetDeletionTimestamp(); at != nil {
		r := wire.WhyReason{Reason: "Terminating", Message: "it has been deleted, and what it owns goes first", Time: at.Time}
		if f := obj.GetFinalizers(); len(f) > 0 {
			r.Message += "; it stays until nobody waits for it any more: " + strings.Join(f, ", ")
		}
		list = append(list, found{WhyReason: r})
	}
	if yes, _, _ := unstructured.NestedBool(m, "spec", "suspend"); yes {
		list = append(list, found{wire.WhyReason{Reason: "Suspended", Message: "spec.suspend is true: it starts no pods", Fixes: []string{"set spec.suspend to false"}}, []string{"spec.suspend"}})
	}
	if yes, _, _ := unstructured.NestedBool(m, "spec", "paused"); yes {
		list = append(list, found{wire.WhyReason{Reason: "Paused", Message: "spec.paused is true: changes of its template wait", Fixes: []string{"set spec.paused to false"}}, []string{"spec.paused"}})
	}
	if n, set, _ := unstructured.NestedInt64(m, "spec", "replicas"); set && n == 0 {
		list = append(list, found{wire.WhyReason{Reason: scaledToZero, Message: "spec.replicas is 0: no pods are wanted", Fixes: []string{"set spec.replicas to more than 0"}}, []string{"spec.replicas"}})
	}
	failed := condition(m, "Failed")
	if failed == nil {
		failed = condition(m, "FailureTarget") // which says the same, before it is true
	}
	for _, c := range []map[string]any{condition(m, "ReplicaFailure"), failed, conditionIs(m, "Progressing", "False")} {
		if c != nil {
			list = append(list, ofCondition(c))
		}
	}
	if condition(m, "ReplicaFailure") == nil {
		list = append(list, notCreated(m, events)...)
	}
	return list
}

func ofCondition(c map[string]any) found {
	text := func(name string) string { s, _ := c[name].(string); return s }
	r := found{WhyReason: wire.WhyReason{Reason: cmp.Or(text("reason"), text("type")), Message: text("message")}}
	r.Time, _ = time.Parse(time.RFC3339, text("lastTransitionTime"))
	if r.Reason == "FailedCreate" {
		r.Fixes = refusal(r.Message)
	}
	return r
}

// refusal is what helps if pods are refused.
func refusal(message string) []string {
	switch {
	case strings.Contains(message, "exceeded quota"), strings.Contains(message, "failed quota"):
		return []string{"raise the ResourceQuota that the message names, or have the pods ask for less"}
	case strings.Contains(message, "violates PodSecurity"):
		return []string{"change the template as the message says, or the level of the namespace"}
	case strings.Contains(message, "error looking up service account"):
		return []string{"create the ServiceAccount that the message names, or change spec.serviceAccountName of the template"}
	case strings.Contains(message, "usage per"):
		return []string{"keep to the LimitRange of the namespace, or change it"}
	}
	return []string{"change the template so that its pods are not refused"}
}

// notCreated is what the newest event tells of a pod that could not be created, for
// kinds without a condition for that. One that has as many as it wants has no trouble.
func notCreated(m map[string]any, events []*corev1.Event) []found {
	for _, active := range []string{"active", "replicas"} {
		if n, _, _ := unstructured.NestedInt64(m, "status", active); n > 0 {
			return nil
		}
	}
	if condition(m, "Complete") != nil || len(events) == 0 {
		return nil
	}
	e := events[len(events)-1]
	if e.Reason != "FailedCreate" {
		return nil
	}
	return []found{{WhyReason: wire.WhyReason{Reason: e.Reason, Message: e.Message, Time: firstTime(e), Fixes: refusal(e.Message)}}}
}

func lastTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}

// grave orders the reasons of pods: what has no node, then what does not run, then what
// does.
func grave(r found) int {
	switch r.Reason {
	case "Scheduled":
		return 3
	case "Completed":
		return 2
	case corev1.PodReasonUnschedulable, corev1.PodReasonSchedulingGated, corev1.PodReasonSchedulerError:
		return 0
	}
	return 1
}

// together are the reasons of many pods, each once.
func together(pods []*corev1.Pod, reasons func(*corev1.Pod) []found) []found {
	var list []found
	at := map[string]int{}
	for _, p := range pods {
		for _, r := range reasons(p) {
			// What names the pod is the same of another.
			same := strings.Join([]string{r.Reason, r.Object, r.Container, strings.ReplaceAll(r.Message, p.Name, "")}, "\n")
			i, known := at[same]
			if !known {
				i = len(list)
				at[same] = i
				if r.Reason == "Scheduled" {
					r.Nodes = nil // there may be many of these
				}
				list = append(list, r)
			}
			one := &list[i]
			if one.Count++; len(one.Pods) < mostPods {
				one.Pods = append(one.Pods, p.Name)
			}
			if !r.Time.IsZero() && r.Time.Before(one.Time) {
				one.Time = r.Time
			}
		}
	}
	slices.SortStableFunc(list, func(a, b found) int { return cmp.Compare(grave(a), grave(b)) })
	return list
}

// controller is the owner that controls an object.
func controller(obj object.Object) *metav1.OwnerReference { return metav1.GetControllerOfNoCopy(obj) }

// called is KIND/NAME.
func called(key object.Key) string { return fmt.Sprintf("%s/%s", key.Kind, key.Name) }
