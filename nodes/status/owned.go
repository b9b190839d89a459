package status

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/types"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// send writes the part of a pod's status that the node owns. If base is the API's
// newest version of the pod, it is sent back with that status: a whole object in
// protobuf costs the server and us a fraction of a patch, which is JSON, merged with
// JSON. If it is not, or nil, the status is sent as a patch, which holds for any version.
func send(ctx context.Context, pods typedv1.PodInterface, name string, uid types.UID, base *corev1.Pod, want corev1.PodStatus) (*corev1.Pod, error) {
	if base != nil {
		next := *base
		next.ManagedFields = nil // they are the API's
		next.Status = merged(base.Status, want)
		updated, err := pods.UpdateStatus(ctx, &next, metav1.UpdateOptions{})
		if !apierrors.IsConflict(err) {
			return updated, err
		}
	}
	status, err := patch(want)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return pods.Patch(ctx, name, types.StrategicMergePatchType, fmt.Appendf(nil, `{"metadata":{"uid":%q},"status":%s}`, uid, status), metav1.PatchOptions{}, "status")
}

// ownedConditions are the conditions the node owns; others belong to others.
// DisruptionTarget is shared: it is sent as it was found, unless the node
// evicts the pod.
// They are compared and sent in this order: a merge in the API may have left
// another one, which is no difference.
var ownedConditions = []corev1.PodConditionType{
	corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady,
	corev1.DisruptionTarget, corev1.PodResizePending, corev1.PodResizeInProgress,
}

// passing are those of them that are there only while they hold.
var passing = []corev1.PodConditionType{corev1.PodResizePending, corev1.PodResizeInProgress}

// owned is the part of a status that the node owns.
func owned(status corev1.PodStatus) corev1.PodStatus {
	var out corev1.PodStatus
	setOwned(&out, &status)
	out.Conditions = make([]corev1.PodCondition, 0, len(status.Conditions))
	for _, kind := range ownedConditions {
		if i := indexOf(status.Conditions, kind); i >= 0 {
			out.Conditions = append(out.Conditions, status.Conditions[i])
		}
	}
	return out
}

// setOwned gives to the fields of from that the node owns, but for the conditions.
func setOwned(to, from *corev1.PodStatus) {
	to.ObservedGeneration, to.Phase, to.Message, to.Reason = from.ObservedGeneration, from.Phase, from.Message, from.Reason
	to.HostIP, to.HostIPs, to.PodIP, to.PodIPs = from.HostIP, from.HostIPs, from.PodIP, from.PodIPs
	to.StartTime, to.QOSClass = from.StartTime, from.QOSClass
	to.InitContainerStatuses, to.ContainerStatuses, to.EphemeralContainerStatuses = from.InitContainerStatuses, from.ContainerStatuses, from.EphemeralContainerStatuses
}

func indexOf(conditions []corev1.PodCondition, kind corev1.PodConditionType) int {
	return slices.IndexFunc(conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
}

// alike compares statuses as the API has them: times in seconds.
var alike = conversion.EqualitiesOrDie(
	func(a, b resource.Quantity) bool { return a.Cmp(b) == 0 },
	func(a, b metav1.Time) bool { return a.Unix() == b.Unix() },
)

// same reports whether owned parts of statuses are the same in the API.
func same(a, b corev1.PodStatus) bool { return alike.DeepEqual(a, b) }

// merged is a status with want in place of the part that the node owns: what the
// API makes of it and the patch of want.
func merged(status, want corev1.PodStatus) corev1.PodStatus {
	others := slices.DeleteFunc(slices.Clone(status.Conditions), func(c corev1.PodCondition) bool {
		return slices.Contains(passing, c.Type) || indexOf(want.Conditions, c.Type) >= 0
	})
	// Those of others come before what they were before.
	conditions, ours := make([]corev1.PodCondition, 0, len(others)+len(want.Conditions)), want.Conditions
	for len(others)+len(ours) > 0 {
		take := &ours
		if len(ours) == 0 || len(others) > 0 && indexOf(status.Conditions, others[0].Type) < indexOf(status.Conditions, ours[0].Type) {
			take = &others
		}
		conditions = append(conditions, (*take)[0])
		*take = (*take)[1:]
	}
	setOwned(&status, &want)
	status.Conditions = conditions
	return status
}

// ownedFields are the names of the fields of setOwned. Those that are empty are
// sent as null, or an old value would stay.
var ownedFields = []string{
	"observedGeneration", "phase", "message", "reason", "hostIP", "hostIPs", "podIP", "podIPs", "startTime", "qosClass",
	"initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses",
}

// patch is an owned part of a status as a strategic merge patch.
func patch(status corev1.PodStatus) ([]byte, error) {
	data, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	out := make(map[string]any, len(ownedFields)+1)
	for _, field := range ownedFields {
		if value, ok := all[field]; ok {
			out[field] = value
		} else {
			out[field] = nil
		}
	}
	// These lists are merged by key: without the directive an address that is
	// gone would stay.
	replace := map[string]string{"$patch": "replace"}
	if len(status.PodIPs) > 0 {
		out["podIPs"] = append(toAny(status.PodIPs), replace)
	}
	if len(status.HostIPs) > 0 {
		out["hostIPs"] = append(toAny(status.HostIPs), replace)
	}
	var conditions []any
	for _, kind := range ownedConditions {
		i := indexOf(status.Conditions, kind)
		if i < 0 {
			if slices.Contains(passing, kind) {
				conditions = append(conditions, map[string]any{"$patch": "delete", "type": kind})
			}
			continue
		}
		c := status.Conditions[i]
		conditions = append(conditions, struct {
			corev1.PodCondition

			// Conditions are merged by type: sent as null like the fields above, or
			// the reason of a False condition would stay when it becomes True.
			Reason  *string `json:"reason"`
			Message *string `json:"message"`
		}{c, orNull(c.Reason), orNull(c.Message)})
	}
	out["conditions"] = conditions
	return json.Marshal(out)
}

// orNull is nil for the empty string.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func toAny[T any](list []T) []any {
	out := make([]any, len(list))
	for i := range list {
		out[i] = list[i]
	}
	return out
}
