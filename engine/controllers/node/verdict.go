package node

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// verdict writes what was decided about a node, if that still holds at the
// point of commit. A disk that stands still holds up heartbeats and verdicts
// alike: when it goes on, a node that was silent only because of it must not
// lose its pods.
type verdict struct {
	c    *lifecycle
	node *corev1.Node
	// last is the sign of life and now the time that it was decided by.
	last heartbeat
	now  time.Time
	// ready is the status that was decided.
	ready corev1.ConditionStatus
	// stale says that it does not hold any more.
	stale bool
	// began says that the node's pods are evicted from now on.
	began bool
}

// lease changes nothing, and finds out whether the node was heard since.
func (v *verdict) lease() change.Change {
	return change.Change{Key: leaseKey(v.node.Name), Mutate: func(current object.Object) (object.Object, error) {
		lease, _ := current.(*coordinationv1.Lease)
		renewed := renewTime(lease)
		v.stale = !renewed.IsZero() && !renewed.Equal(v.last.renewed) || v.c.Now().Sub(v.now) > shortPause
		return current, nil
	}}
}

// conditions writes them; it comes after lease.
func (v *verdict) conditions(next []corev1.NodeCondition) change.Change {
	return control.Guarded(change.PatchStatus(nodeKey(v.node.Name), func(obj object.Object) bool {
		obj.(*corev1.Node).Status.Conditions = next
		return true
	}), func(current object.Object) bool {
		v.stale = v.stale || current.GetResourceVersion() != v.node.ResourceVersion
		return !v.stale
	})
}

// stored changes nothing, and finds out whether the node's status is what was
// decided.
func (v *verdict) stored() change.Change {
	return change.Change{Key: nodeKey(v.node.Name), Mutate: func(current object.Object) (object.Object, error) {
		node, _ := current.(*corev1.Node)
		v.stale = node == nil || readyStatus(node.Status.Conditions) != v.ready
		return current, nil
	}}
}

// notReady takes the pod of a node that was lost out of its Services; it comes
// after stored.
func (v *verdict) notReady(pod *corev1.Pod) change.Change {
	same := control.SameUID(pod.UID)
	return control.Guarded(change.PatchStatus(object.KeyOf(control.Pod, pod), func(obj object.Object) bool {
		c := control.PodCondition(obj.(*corev1.Pod), corev1.PodReady)
		if c == nil || c.Status != corev1.ConditionTrue {
			return false
		}
		c.Status, c.LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(v.now)
		return true
	}), func(current object.Object) bool { return !v.stale && same(current) })
}
