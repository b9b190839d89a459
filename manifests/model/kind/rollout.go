package kind

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Edit is what changes of an object, and how many pods it has by then.
type Edit struct {
	// Paths are those of the fields that change; none for a new object.
	Paths []string
	Pods  int
}

// Template reports whether the template of the object's pods changes.
func (e Edit) Template() bool {
	for _, path := range e.Paths {
		if path == "spec.template" || strings.HasPrefix(path, "spec.template.") {
			return true
		}
	}
	return false
}

// Rollout is what comes of an object's pods.
type Rollout struct {
	// Pods is how many pods the object asks for.
	Pods int
	// InPlace reports whether an object that exists keeps its pods, whatever it
	// asks for.
	InPlace bool
	// Strategy is how today's pods are replaced, in the words of the API; empty:
	// they are not. AtOnce reports whether all of them leave before the new ones
	// come; else there are at most Surge pods more and Unavailable fewer than
	// Pods on the way.
	Strategy           string
	AtOnce             bool
	Surge, Unavailable int
	// Claims returns the claims that a pod has of its own, of which n others were made
	// before it; nil: pods have none.
	Claims func(n int) []PodClaim
	// Note is what people are told of pods that are not replaced.
	Note string
}

// PodClaim is a claim that a pod has of its own, and the volume that it is in the pod.
type PodClaim struct {
	Volume string
	Claim  *corev1.PersistentVolumeClaim
}
