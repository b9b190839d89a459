package node

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DefaultGrace is for how long a node may be silent.
const DefaultGrace = 50 * time.Second

const (
	// startupGrace is for how long one may be that has not reported anything yet.
	startupGrace = time.Minute

	reasonUnknown  = "NodeStatusUnknown"
	messageUnknown = "Kubelet stopped posting node status."
	reasonNever    = "NodeStatusNeverUpdated"
	messageNever   = "Kubelet never posted node status."
)

// Health judges a node that was last heard from at heard. It returns the
// conditions that the node should have, and when to check again.
func Health(node *corev1.Node, heard time.Time, grace time.Duration, now time.Time) ([]corev1.NodeCondition, time.Duration) {
	if readyStatus(node.Status.Conditions) == "" {
		grace = startupGrace
	}
	if left := heard.Add(grace).Sub(now); left > 0 {
		return node.Status.Conditions, left
	}
	next := slices.Clone(node.Status.Conditions)
	for _, typ := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		i := slices.IndexFunc(next, func(c corev1.NodeCondition) bool { return c.Type == typ })
		switch {
		case i < 0:
			next = append(next, corev1.NodeCondition{
				Type: typ, Status: corev1.ConditionUnknown, Reason: reasonNever, Message: messageNever,
				LastHeartbeatTime: node.CreationTimestamp, LastTransitionTime: metav1.NewTime(now),
			})
		case next[i].Status != corev1.ConditionUnknown:
			next[i].Status, next[i].Reason, next[i].Message = corev1.ConditionUnknown, reasonUnknown, messageUnknown
			next[i].LastTransitionTime = metav1.NewTime(now)
		}
	}
	return next, 0
}

func readyStatus(conditions []corev1.NodeCondition) corev1.ConditionStatus {
	for _, c := range conditions {
		if c.Type == corev1.NodeReady {
			return c.Status
		}
	}
	return ""
}

// pressures are the conditions that keep new pods away while they are true.
var pressures = map[corev1.NodeConditionType]string{
	corev1.NodeMemoryPressure:     corev1.TaintNodeMemoryPressure,
	corev1.NodeDiskPressure:       corev1.TaintNodeDiskPressure,
	corev1.NodePIDPressure:        corev1.TaintNodePIDPressure,
	corev1.NodeNetworkUnavailable: corev1.TaintNodeNetworkUnavailable,
}

// Taints returns a node's taints, with those that follow from its conditions
// and spec.unschedulable corrected. A node that never reported its state is not
// ready, but nothing is evicted from it.
func Taints(node *corev1.Node, conditions []corev1.NodeCondition, pods Eviction, now time.Time) []corev1.Taint {
	want := map[corev1.Taint]bool{}
	add := func(key string, effect corev1.TaintEffect) { want[corev1.Taint{Key: key, Effect: effect}] = true }
	failed := func(key string) {
		add(key, corev1.TaintEffectNoSchedule)
		if pods == Begin || pods == Hold && evicts(node) {
			add(key, corev1.TaintEffectNoExecute)
		}
	}
	switch readyStatus(conditions) {
	case corev1.ConditionTrue:
	case corev1.ConditionFalse:
		failed(corev1.TaintNodeNotReady)
	case corev1.ConditionUnknown:
		failed(corev1.TaintNodeUnreachable)
	default:
		add(corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule)
	}
	for _, c := range conditions {
		if key := pressures[c.Type]; key != "" && c.Status == corev1.ConditionTrue {
			add(key, corev1.TaintEffectNoSchedule)
		}
	}
	if node.Spec.Unschedulable {
		add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	}
	var taints []corev1.Taint
	for _, t := range node.Spec.Taints {
		bare := corev1.Taint{Key: t.Key, Effect: t.Effect}
		if !ours(bare) {
			taints = append(taints, t)
		} else if want[bare] {
			taints = append(taints, t)
			delete(want, bare)
		}
	}
	stamp := metav1.NewTime(now)
	var added []corev1.Taint
	for t := range want {
		t.TimeAdded = &stamp
		added = append(added, t)
	}
	slices.SortFunc(added, func(a, b corev1.Taint) int {
		if a.Key != b.Key {
			return strings.Compare(a.Key, b.Key)
		}
		return strings.Compare(string(b.Effect), string(a.Effect))
	})
	return append(taints, added...)
}

// evicts reports whether the node has a taint by which its pods are evicted because
// it failed.
func evicts(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute && ours(t) })
}

// ours reports whether the taint is one that Taints decides about.
func ours(t corev1.Taint) bool {
	switch t.Key {
	case corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable:
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	case corev1.TaintNodeUnschedulable, corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure, corev1.TaintNodePIDPressure, corev1.TaintNodeNetworkUnavailable:
		return t.Effect == corev1.TaintEffectNoSchedule
	}
	return false
}
