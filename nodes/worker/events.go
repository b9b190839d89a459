package worker

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/pod"
)

// containerRef names a container of a pod as the object of an event.
func containerRef(p *corev1.Pod, container string) *corev1.ObjectReference {
	path := fmt.Sprintf("spec.containers{%s}", container)
	for _, c := range p.Spec.InitContainers {
		if c.Name == container {
			path = fmt.Sprintf("spec.initContainers{%s}", container)
		}
	}
	for _, c := range p.Spec.EphemeralContainers {
		if c.Name == container {
			path = fmt.Sprintf("spec.ephemeralContainers{%s}", container)
		}
	}
	return &corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: p.Namespace, Name: p.Name, UID: p.UID,
		ResourceVersion: p.ResourceVersion, FieldPath: path,
	}
}

// backOffEvents records once for each wait that a container waits for its
// restart, or for its image.
func (w *worker) backOffEvents(p *corev1.Pod, names []string, now time.Time) {
	waiting := map[string]bool{}
	for _, name := range names {
		waiting[name] = true
		if _, done := w.announced[name]; !done {
			w.announced[name] = now
			w.env.Events.Eventf(containerRef(p, name), corev1.EventTypeWarning, "BackOff",
				"Back-off restarting failed container %s in pod %s", name, pod.Describe(p))
		}
	}
	for name, f := range w.failures {
		if !f.BackingOff(now) {
			continue
		}
		waiting[name] = true
		if at := w.announced[name]; !at.Equal(f.At) {
			w.announced[name] = f.At
			ref := containerRef(p, name)
			w.env.Events.Eventf(ref, corev1.EventTypeNormal, "BackOff", "Back-off pulling image %q", f.Image)
			w.env.Events.Event(ref, corev1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
		}
	}
	for name := range w.announced {
		if !waiting[name] {
			delete(w.announced, name)
		}
	}
}
