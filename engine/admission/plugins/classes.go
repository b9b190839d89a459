package plugins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	chain "headway.dev/engine/admission"
	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/manifests/model/object"
)

var runtimeClassKind = schema.GroupKind{Group: nodev1.GroupName, Kind: "RuntimeClass"}

// runtimeClass is RuntimeClass: the class that a new pod names must exist; the pod
// gets its overhead, and goes to the nodes that have it. Nobody else says what a pod
// costs besides its containers.
type runtimeClass struct {
	ofPods
	stored object.Reader
}

// of is the class that a pod names, nil if it names none.
func (p runtimeClass) of(ctx context.Context, attrs admission.Attributes, pod *corev1.Pod) (*nodev1.RuntimeClass, error) {
	if pod.Spec.RuntimeClassName == nil {
		return nil, nil
	}
	name := *pod.Spec.RuntimeClassName
	class, ok := chain.View(ctx, p.stored).Get(object.Key{GroupKind: runtimeClassKind, Name: name}).(*nodev1.RuntimeClass)
	if !ok {
		return nil, admission.NewForbidden(attrs, fmt.Errorf("pod rejected: RuntimeClass %q not found", name))
	}
	return class, nil
}

var errOverhead = errors.New("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")

// Admit implements admission.MutationInterface.
func (p runtimeClass) Admit(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := newPod(attrs)
	if pod == nil {
		return nil
	}
	class, err := p.of(ctx, attrs, pod)
	if err != nil || class == nil {
		return err
	}
	if o := class.Overhead; o != nil {
		if pod.Spec.Overhead != nil && !equality.Semantic.DeepEqual(o.PodFixed, pod.Spec.Overhead) {
			return admission.NewForbidden(attrs, errOverhead)
		}
		pod.Spec.Overhead = o.PodFixed.DeepCopy()
	}
	if s := class.Scheduling; s != nil {
		for _, name := range slices.Sorted(maps.Keys(s.NodeSelector)) {
			value := s.NodeSelector[name]
			if own, ok := pod.Spec.NodeSelector[name]; ok && own != value {
				return admission.NewForbidden(attrs, fmt.Errorf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", name, value, name, own))
			}
			if pod.Spec.NodeSelector == nil {
				pod.Spec.NodeSelector = map[string]string{}
			}
			pod.Spec.NodeSelector[name] = value
		}
		pod.Spec.Tolerations = mergeTolerations(pod.Spec.Tolerations, s.Tolerations)
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (p runtimeClass) Validate(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := newPod(attrs)
	if pod == nil {
		return nil
	}
	class, err := p.of(ctx, attrs, pod)
	switch {
	case err != nil:
		return err
	case class != nil && class.Overhead != nil:
		if !equality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead) {
			return admission.NewForbidden(attrs, errOverhead)
		}
	case pod.Spec.Overhead != nil:
		return admission.NewForbidden(attrs, errors.New("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
	}
	return nil
}

// mergeTolerations are those of both lists without those that another one includes; of
// equal ones the first stays.
func mergeTolerations(a, b []corev1.Toleration) []corev1.Toleration {
	var merged []corev1.Toleration
	all := append(append([]corev1.Toleration(nil), a...), b...)
	for i := range all {
		needed := true
		for j := range all {
			same := equality.Semantic.DeepEqual(all[i], all[j])
			if j != i && (same && j < i || !same && includes(&all[j], &all[i])) {
				needed = false
				break
			}
		}
		if needed {
			merged = append(merged, *all[i].DeepCopy())
		}
	}
	return merged
}

// includes reports whether all that one toleration tolerates is tolerated by another.
func includes(wide, narrow *corev1.Toleration) bool {
	switch {
	case wide.Key != narrow.Key && (wide.Key != "" || wide.Operator != corev1.TolerationOpExists),
		wide.Effect != narrow.Effect && wide.Effect != "":
		return false
	case wide.Effect == corev1.TaintEffectNoExecute && wide.TolerationSeconds != nil &&
		(narrow.TolerationSeconds == nil || *narrow.TolerationSeconds > *wide.TolerationSeconds):
		return false
	}
	switch wide.Operator {
	case corev1.TolerationOpExists:
		return true
	case corev1.TolerationOpEqual, "":
		// One that leaves the operator out is not looked at any further, as in Kubernetes.
		return narrow.Operator == corev1.TolerationOpEqual && wide.Value == narrow.Value
	default:
		return false
	}
}

var (
	ingresses        = schema.GroupResource{Group: networkingv1.GroupName, Resource: "ingresses"}
	ingressClassKind = schema.GroupKind{Group: networkingv1.GroupName, Kind: "IngressClass"}
)

// defaultIngressClass is DefaultIngressClass: an Ingress that names no class, in its
// field or in the old annotation, gets the default: of several the newest, and of those
// the first by name, as in Kubernetes.
type defaultIngressClass struct{ stored object.Reader }

// Handles implements admission.Interface.
func (defaultIngressClass) Handles(op admission.Operation) bool { return op == admission.Create }

// Wants implements admission.Selective.
func (defaultIngressClass) Wants(resource schema.GroupResource, subresource string) bool {
	return resource == ingresses && subresource == ""
}

// Admit implements admission.MutationInterface.
func (p defaultIngressClass) Admit(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	ingress, ok := attrs.GetObject().(*networkingv1.Ingress)
	if !ok || ingress.Spec.IngressClassName != nil {
		return nil
	}
	if _, named := ingress.Annotations[networking.ClassAnnotation]; named {
		return nil
	}
	classes, _ := chain.View(ctx, p.stored).List(ingressClassKind, "")
	var found []*networkingv1.IngressClass
	for _, obj := range classes {
		if c, ok := obj.(*networkingv1.IngressClass); ok && networking.IsDefault(c) {
			found = append(found, c)
		}
	}
	if len(found) > 0 {
		ingress.Spec.IngressClassName = new(slices.MinFunc(found, func(a, b *networkingv1.IngressClass) int {
			return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
		}).Name)
	}
	return nil
}
