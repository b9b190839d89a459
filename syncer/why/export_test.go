package why

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/wire"
)

// Facts are those of a pod.
type Facts struct {
	Place      func() Placing
	Node       *corev1.Node
	Events     []*corev1.Event
	Budgets    []string
	Schedulers []string
}

// OfPod returns the reasons of a pod.
func OfPod(p *corev1.Pod, f Facts) []wire.WhyReason {
	return reasonsOf(ofPod(p, facts{f.Place, f.Node, f.Events, f.Budgets, f.Schedulers}))
}

// OfWorkload returns the reasons of what runs pods.
func OfWorkload(obj object.Object, events []*corev1.Event) []wire.WhyReason {
	return reasonsOf(ofWorkload(obj, events))
}

// Together returns the reasons of many pods.
func Together(pods []*corev1.Pod) []wire.WhyReason {
	return reasonsOf(together(pods, func(p *corev1.Pod) []found { return ofPod(p, facts{}) }))
}

func reasonsOf(list []found) (out []wire.WhyReason) {
	for _, r := range list {
		out = append(out, r.WhyReason)
	}
	return out
}

// IsField is the function of that name.
var IsField = isField
