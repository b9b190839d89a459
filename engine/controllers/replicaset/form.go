package replicaset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/object"
)

// form is in what the kinds that keep a number of pods differ.
type form struct {
	// name is that of the controller, source the one in its events.
	name, source string
	kind         schema.GroupKind
	version      schema.GroupVersionKind
	plural       string
	// terminating: the status counts pods that are being deleted.
	terminating bool
	// view is an object as a ReplicaSet; nil if it is none of the kind. It shares
	// what it is made of.
	view      func(obj object.Object) *appsv1.ReplicaSet
	setStatus func(obj object.Object, status appsv1.ReplicaSetStatus)
}

// set is an object of a form, and what is stored of it.
type set struct {
	*appsv1.ReplicaSet
	stored object.Object
}

var replicaSets = form{
	name: "replicaset-controller", source: "replicaset-controller", plural: "replica sets",
	kind: control.ReplicaSet, version: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), terminating: true,
	view: func(obj object.Object) *appsv1.ReplicaSet {
		rs, ok := obj.(*appsv1.ReplicaSet)
		if !ok {
			return nil
		}
		return rs
	},
	setStatus: func(obj object.Object, status appsv1.ReplicaSetStatus) { obj.(*appsv1.ReplicaSet).Status = status },
}

var replicationControllers = form{
	name: "replicationcontroller-controller", source: "replication-controller", plural: "replication controllers",
	kind: control.ReplicationController, version: corev1.SchemeGroupVersion.WithKind("ReplicationController"),
	view: viewController, setStatus: setControllerStatus,
}

func viewController(obj object.Object) *appsv1.ReplicaSet {
	rc, ok := obj.(*corev1.ReplicationController)
	if !ok {
		return nil
	}
	rs := &appsv1.ReplicaSet{
		ObjectMeta: rc.ObjectMeta,
		Spec:       appsv1.ReplicaSetSpec{Replicas: rc.Spec.Replicas, MinReadySeconds: rc.Spec.MinReadySeconds},
		Status: appsv1.ReplicaSetStatus{
			Replicas: rc.Status.Replicas, FullyLabeledReplicas: rc.Status.FullyLabeledReplicas, ReadyReplicas: rc.Status.ReadyReplicas,
			AvailableReplicas: rc.Status.AvailableReplicas, ObservedGeneration: rc.Status.ObservedGeneration,
		},
	}
	if rc.Spec.Selector != nil {
		rs.Spec.Selector = &metav1.LabelSelector{MatchLabels: rc.Spec.Selector}
	}
	if rc.Spec.Template != nil {
		rs.Spec.Template = *rc.Spec.Template
	}
	for _, c := range rc.Status.Conditions {
		rs.Status.Conditions = append(rs.Status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return rs
}

func setControllerStatus(obj object.Object, s appsv1.ReplicaSetStatus) {
	status := corev1.ReplicationControllerStatus{
		Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeledReplicas, ReadyReplicas: s.ReadyReplicas,
		AvailableReplicas: s.AvailableReplicas, ObservedGeneration: s.ObservedGeneration,
	}
	for _, c := range s.Conditions {
		status.Conditions = append(status.Conditions, corev1.ReplicationControllerCondition{
			Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	obj.(*corev1.ReplicationController).Status = status
}

func (f form) of(obj object.Object) (set, bool) {
	rs := f.view(obj)
	return set{rs, obj}, rs != nil
}

func (f form) reference(rs set) *metav1.OwnerReference {
	return metav1.NewControllerRef(rs.stored, f.version)
}

func (f form) statusOf(rs set, pods []*corev1.Pod, failure *appsv1.ReplicaSetCondition, now time.Time) appsv1.ReplicaSetStatus {
	status := StatusOf(rs.ReplicaSet, pods, failure, now)
	if !f.terminating {
		status.TerminatingReplicas = nil
	}
	return status
}

func (f form) selector(obj object.Object) *metav1.LabelSelector {
	if rs := f.view(obj); rs != nil {
		return rs.Spec.Selector
	}
	return nil
}

func (f form) podSpec(obj object.Object) *corev1.PodSpec {
	if rs := f.view(obj); rs != nil {
		return &rs.Spec.Template.Spec
	}
	return nil
}
