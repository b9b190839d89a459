package plugins

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
)

// newNode is TaintNodesByCondition: nobody is sent to a new node before the node
// controller has seen that it is ready.
type newNode struct{}

var nodes = schema.GroupResource{Resource: "nodes"}

// Handles implements admission.Interface.
func (newNode) Handles(op admission.Operation) bool { return op == admission.Create }

// Wants implements admission.Selective.
func (newNode) Wants(resource schema.GroupResource, subresource string) bool {
	return resource == nodes && subresource == ""
}

// Admit implements admission.MutationInterface.
func (newNode) Admit(_ context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	node, ok := attrs.GetObject().(*corev1.Node)
	if !ok {
		return nil
	}
	taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	if !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&taint) }) {
		node.Spec.Taints = append(node.Spec.Taints, taint)
	}
	return nil
}

// DefaultTolerationSeconds is how long pods stay on a node that is not ready, or
// not reachable, if nobody says so.
const DefaultTolerationSeconds = 300

// Tolerations are for how many seconds pods which say nothing tolerate nodes that
// are not ready, and those that cannot be reached; nil is
// DefaultTolerationSeconds.
type Tolerations struct{ NotReady, Unreachable *int64 }

// defaultTolerations is DefaultTolerationSeconds.
type defaultTolerations struct{ tolerations []corev1.Toleration }

func newDefaultTolerations(t Tolerations) defaultTolerations {
	toleration := func(taint string, given *int64) corev1.Toleration {
		seconds := int64(DefaultTolerationSeconds)
		if given != nil {
			seconds = *given
		}
		return corev1.Toleration{Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds}
	}
	return defaultTolerations{[]corev1.Toleration{
		toleration(corev1.TaintNodeNotReady, t.NotReady), toleration(corev1.TaintNodeUnreachable, t.Unreachable),
	}}
}

// Handles implements admission.Interface.
func (defaultTolerations) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Wants implements admission.Selective.
func (defaultTolerations) Wants(resource schema.GroupResource, subresource string) bool {
	return resource == pods && subresource == ""
}

// Admit implements admission.MutationInterface.
func (p defaultTolerations) Admit(_ context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := attrs.GetObject().(*corev1.Pod)
	if !ok || attrs.GetSubresource() != "" {
		return nil
	}
	given := len(pod.Spec.Tolerations)
	for _, own := range p.tolerations {
		tolerates := func(t corev1.Toleration) bool {
			return (t.Key == own.Key || t.Key == "") && (t.Effect == own.Effect || t.Effect == "")
		}
		if !slices.ContainsFunc(pod.Spec.Tolerations[:given], tolerates) {
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, *own.DeepCopy())
		}
	}
	return nil
}
