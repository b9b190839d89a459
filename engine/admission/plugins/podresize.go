package plugins

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	podresource "k8s.io/component-helpers/resource"

	chain "headway.dev/engine/admission"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
)

// resize is the subresource of pods by which they are given more or less.
const resize = "resize"

var nodeKind = schema.GroupKind{Kind: "Node"}

// podResize is PodResizeValidator: a pod on a node cannot ask for more than that
// node has for all pods.
type podResize struct{ stored object.Reader }

// Handles implements admission.Interface.
func (podResize) Handles(op admission.Operation) bool { return op == admission.Update }

// Wants implements admission.Selective.
func (podResize) Wants(resource schema.GroupResource, subresource string) bool {
	return resource == pods && subresource == resize
}

// podAmounts completes the amounts of a new pod by what its containers were given.
// Kubernetes does that after all admission, too, without a plugin.
type podAmounts struct{ ofPods }

// Admit implements admission.MutationInterface.
func (podAmounts) Admit(_ context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	if pod := newPod(attrs); pod != nil {
		fill.PodResources(&pod.Spec)
	}
	return nil
}

// resizedPod is the pod that is resized, nil if it is something else.
func resizedPod(attrs admission.Attributes) *corev1.Pod {
	if attrs.GetOperation() != admission.Update || attrs.GetResource().GroupResource() != pods || attrs.GetSubresource() != resize {
		return nil
	}
	pod, _ := attrs.GetObject().(*corev1.Pod)
	return pod
}

// Validate implements admission.ValidationInterface.
func (p podResize) Validate(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := resizedPod(attrs)
	if pod == nil || pod.Spec.NodeName == "" {
		return nil
	}
	if old, ok := attrs.GetOldObject().(*corev1.Pod); ok && old.Generation == pod.Generation {
		return nil
	}
	node, ok := chain.View(ctx, p.stored).Get(object.Key{GroupKind: nodeKind, Name: pod.Spec.NodeName}).(*corev1.Node)
	if !ok {
		return admission.NewForbidden(attrs, fmt.Errorf("node %q not found", pod.Spec.NodeName))
	}
	if why := beyond(pod, node); why != "" {
		return because("NodeCapacity", admission.NewForbidden(attrs, errors.New("Node didn't have enough allocatable resources: "+why)))
	}
	if os := node.Labels[corev1.LabelOSStable]; os != string(corev1.Linux) {
		return because("UnsupportedPlatform", admission.NewForbidden(attrs, fmt.Errorf("pod resize is only supported on linux nodes, node %q is %q", node.Name, os)))
	}
	return nil
}

// beyond says what of a pod's requests is more than the node has, empty if nothing is.
func beyond(pod *corev1.Pod, node *corev1.Node) string {
	requests := podresource.PodRequests(pod, podresource.PodResourcesOptions{})
	var parts []string
	if asked, has := podspec.Milli(*requests.Cpu()), podspec.Milli(*node.Status.Allocatable.Cpu()); asked > has {
		parts = append(parts, fmt.Sprintf("cpu, requested: %d, allocatable: %d", asked, has))
	}
	if asked, has := podspec.Whole(*requests.Memory()), podspec.Whole(*node.Status.Allocatable.Memory()); asked > has {
		parts = append(parts, fmt.Sprintf("memory, requested: %d, allocatable: %d", asked, has))
	}
	return strings.Join(parts, "; ")
}

// because adds the cause that autoscalers look for.
func because(cause metav1.CauseType, err error) error {
	var refused *apierrors.StatusError
	if errors.As(err, &refused) && refused.ErrStatus.Details != nil {
		refused.ErrStatus.Details.Causes = append(refused.ErrStatus.Details.Causes, metav1.StatusCause{Type: cause})
	}
	return err
}
