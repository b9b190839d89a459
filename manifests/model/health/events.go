package health

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/object"
)

var eventKind = schema.GroupKind{Kind: "Event"}

// unprepared are the reasons of events of the kubelet and of the attach-detach controller
// by which they tell, and nowhere else, that a pod cannot get its volumes or its sandbox.
var unprepared = map[string]bool{
	"FailedMount": true, "FailedAttachVolume": true, "FailedMapVolume": true, "FailedCreatePodSandBox": true, "FailedCreatePodContainer": true, "NetworkNotReady": true,
}

// preparing is what keeps a node from starting the containers of a pod, of which their
// status says no more than ContainerCreating. What was in the way before the sandbox was
// there is none any more.
func preparing(p *corev1.Pod, reader object.Reader) trouble {
	if p.Spec.NodeName == "" || p.Status.Phase != "" && p.Status.Phase != corev1.PodPending {
		return trouble{}
	}
	if c := PodCondition(p, corev1.PodReadyToStartContainers); c != nil && c.Status == corev1.ConditionTrue {
		return trouble{}
	}
	e := newest(warnings(reader, p), func(e *corev1.Event) bool { return unprepared[e.Reason] })
	if e == nil {
		return trouble{}
	}
	return trouble{4, e.Reason, e.Message}
}

// warnings are the events about a pod which tell of trouble. The reader may be nil.
func warnings(reader object.Reader, p *corev1.Pod) []*corev1.Event {
	if reader == nil {
		return nil
	}
	r, ok := reader.(*indexed)
	if !ok {
		return warningsIn(reader, p.Namespace)[p.UID]
	}
	if r.warned[p.Namespace] == nil {
		r.warned[p.Namespace] = warningsIn(r, p.Namespace)
	}
	return r.warned[p.Namespace][p.UID]
}

func warningsIn(reader object.Reader, namespace string) map[types.UID][]*corev1.Event {
	found := map[types.UID][]*corev1.Event{}
	list, _ := reader.List(eventKind, namespace)
	for _, o := range list {
		if e, ok := o.(*corev1.Event); ok && e.Type != corev1.EventTypeNormal {
			found[e.InvolvedObject.UID] = append(found[e.InvolvedObject.UID], e)
		}
	}
	return found
}

// newest is the last of some events that is about something; nil if none is.
func newest(events []*corev1.Event, about func(*corev1.Event) bool) (last *corev1.Event) {
	for _, e := range events {
		if about(e) && (last == nil || lastTime(last).Before(lastTime(e))) {
			last = e
		}
	}
	return last
}

// lastTime is when an event was last seen.
func lastTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	default:
		return e.EventTime.Time
	}
}
