package rollout

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

var podKind = schema.GroupKind{Kind: "Pod"}

// Pods are today's, by who owns them.
type Pods struct {
	pods map[types.UID][]*corev1.Pod
	sets map[types.UID][]types.UID // what makes pods, by what made it: ReplicaSets by Deployment
	all  []*corev1.Pod
}

// Index finds today's pods.
func Index(stored object.Reader) *Pods {
	ix := &Pods{pods: map[types.UID][]*corev1.Pod{}, sets: map[types.UID][]types.UID{}}
	list, _ := stored.List(podKind, "")
	for _, o := range list {
		p, ok := o.(*corev1.Pod)
		if !ok || !runs(p) {
			continue
		}
		ix.all = append(ix.all, p)
		if ref := metav1.GetControllerOfNoCopy(p); ref != nil {
			ix.pods[ref.UID] = append(ix.pods[ref.UID], p)
		}
	}
	for _, k := range scheme.Kinds() {
		if k.PodTemplate == nil || k.GroupKind() == podKind {
			continue
		}
		list, _ := stored.List(k.GroupKind(), "")
		for _, o := range list {
			if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
				ix.sets[ref.UID] = append(ix.sets[ref.UID], o.GetUID())
			}
		}
	}
	return ix
}

// runs reports whether a pod is neither ended nor being deleted.
func runs(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// of are the pods of an object, or nil for one that is not stored.
func (ix *Pods) of(obj object.Object) []*corev1.Pod {
	if obj == nil {
		return nil
	}
	if p, ok := obj.(*corev1.Pod); ok && runs(p) {
		return []*corev1.Pod{p}
	}
	list := slices.Clone(ix.pods[obj.GetUID()])
	for _, set := range ix.sets[obj.GetUID()] {
		list = append(list, ix.pods[set]...)
	}
	slices.SortFunc(list, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
