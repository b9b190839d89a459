package health

import (
	"strings"
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
// status says no more than ContainerCreating. What was in the way before something newer
// happened, or before the sandbox was there, is there no more.
func preparing(p *corev1.Pod, reader object.Reader) trouble {
	if p.Spec.NodeName == "" || p.Status.Phase != "" && p.Status.Phase != corev1.PodPending {
		return trouble{}
	}
	if c := PodCondition(p, corev1.PodReadyToStartContainers); c != nil && c.Status == corev1.ConditionTrue {
		return trouble{}
	}
	e := eventsOf(reader, p).node
	if e == nil || e.Type != corev1.EventTypeWarning || !unprepared[e.Reason] {
		return trouble{}
	}
	return trouble{4, e.Reason, e.Message}
}

// probeEvent is the newest thing that the kubelet said about the probe.
func probeEvent(p *corev1.Pod, probe string, reader object.Reader) string {
	var newest *corev1.Event
	for _, e := range eventsOf(reader, p).probes {
		if strings.HasPrefix(e.Message, probe+" probe") && (newest == nil || lastTime(newest).Before(lastTime(e))) {
			newest = e
		}
	}
	if newest == nil {
		return ""
	}
	return newest.Message
}

// LastEvent is the reason and the message of the newest event about an object, and
// whether there is one.
func LastEvent(reader object.Reader, obj object.Object) (text string, found bool) {
	if e := eventsOf(reader, obj).last; e != nil {
		return e.Reason + ": " + e.Message, true
	}
	return "", false
}

// events is what events say of one object.
type events struct {
	last   *corev1.Event   // the newest; a warning, if others are as new
	node   *corev1.Event   // the newest that is not the scheduler's
	probes []*corev1.Event // about failed probes
}

func (s *events) add(e *corev1.Event) {
	if e.Reason == "Unhealthy" {
		s.probes = append(s.probes, e)
	}
	s.last = newer(s.last, e)
	if e.Reason != "Scheduled" && e.Reason != "FailedScheduling" {
		s.node = newer(s.node, e)
	}
}

// newer is the newer of two events, of which there need not be a first.
func newer(was, is *corev1.Event) *corev1.Event {
	if was == nil {
		return is
	}
	// Some have no more than seconds.
	before, after := lastTime(was).Truncate(time.Second), lastTime(is).Truncate(time.Second)
	if after.After(before) || after.Equal(before) && is.Type == corev1.EventTypeWarning {
		return is
	}
	return was
}

// eventsOf is what events say of an object; the reader may be nil. Of many objects of a
// namespace it is asked through Indexed.
func eventsOf(reader object.Reader, obj object.Object) events {
	if reader == nil {
		return events{}
	}
	r, ok := reader.(*indexed)
	if !ok {
		r = Indexed(reader).(*indexed)
	}
	namespace := obj.GetNamespace()
	if r.said[namespace] == nil {
		r.said[namespace] = eventsIn(r, namespace)
	}
	if s := r.said[namespace][obj.GetUID()]; s != nil {
		return *s
	}
	return events{}
}

func eventsIn(reader object.Reader, namespace string) map[types.UID]*events {
	found := map[types.UID]*events{}
	list, _ := reader.List(eventKind, namespace)
	for _, o := range list {
		e, ok := o.(*corev1.Event)
		if !ok {
			continue
		}
		s := found[e.InvolvedObject.UID]
		if s == nil {
			s = &events{}
			found[e.InvolvedObject.UID] = s
		}
		s.add(e)
	}
	return found
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
