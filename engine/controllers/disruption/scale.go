package disruption

import (
	"fmt"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

// scaleOf finds what a pod's controller is to keep. A ReplicaSet of a Deployment has
// the Deployment's scale: while it rolls, its sets are more or less than that.
func (c *controller) scaleOf(namespace string, ref *metav1.OwnerReference) (*Scale, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, err
	}
	gk := gv.WithKind(ref.Kind).GroupKind()
	if gk == control.ReplicaSet {
		set := c.owner(namespace, gk, ref)
		if set == nil {
			return nil, nil
		}
		if above := metav1.GetControllerOfNoCopy(set); above != nil && above.Kind == control.Deployment.Kind {
			if d := c.owner(namespace, control.Deployment, above); d != nil && strings.HasPrefix(above.APIVersion, control.Deployment.Group+"/") {
				return c.read(d, control.Deployment)
			}
		}
		return c.read(set, gk)
	}
	k, served := c.Kinds.ForKind(gk)
	if !served {
		return nil, &meta.NoKindMatchError{GroupKind: gk, SearchedVersions: []string{gv.Version}}
	}
	obj := c.owner(namespace, gk, ref)
	if obj == nil {
		if !scales(k) {
			return nil, noScale(k)
		}
		return nil, nil
	}
	return c.read(obj, gk)
}

// owner is the very object that ref names; nil if it is gone.
func (c *controller) owner(namespace string, gk schema.GroupKind, ref *metav1.OwnerReference) object.Object {
	obj := c.Store.Get(object.Key{GroupKind: gk, Namespace: namespace, Name: ref.Name})
	if obj == nil || obj.GetUID() != ref.UID {
		return nil
	}
	return obj
}

func (c *controller) read(obj object.Object, gk schema.GroupKind) (*Scale, error) {
	k, served := c.Kinds.ForKind(gk)
	if !served {
		return nil, nil
	}
	n, ok, err := replicas(k, obj)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, noScale(k)
	}
	return &Scale{UID: obj.GetUID(), Replicas: n}, nil
}

func noScale(k *kind.Kind) error {
	return fmt.Errorf("%s does not implement the scale subresource", k.Resource().GroupResource())
}

// scales reports whether a kind has a scale subresource.
func scales(k *kind.Kind) bool {
	if k.Custom == nil {
		return k.Scale != nil
	}
	v, ok := k.Custom.Version(k.Version)
	return ok && v.Replicas() != ""
}

// replicas reads what the scale subresource of an object says; ok is false if it has
// none.
func replicas(k *kind.Kind, obj object.Object) (n int32, ok bool, err error) {
	u, custom := obj.(*unstructured.Unstructured)
	if !custom || k.Custom == nil {
		if k.Scale == nil {
			return 0, false, nil
		}
		if n := *k.Scale(obj).Replicas; n != nil {
			return *n, true, nil
		}
		return 1, true, nil
	}
	v, ok := k.Custom.Version(u.GroupVersionKind().Version)
	if !ok || v.Replicas() == "" {
		return 0, false, nil
	}
	value, found, err := unstructured.NestedInt64(u.UnstructuredContent(), strings.Split(v.Replicas(), ".")...)
	if err != nil {
		return 0, false, err
	}
	if !found {
		return 0, false, fmt.Errorf("the spec replicas field %q does not exist", "."+v.Replicas())
	}
	return int32(min(max(value, 0), math.MaxInt32)), true, nil
}

// rescaled reports whether an event is about something with a scale that is another
// one now.
func (c *controller) rescaled(ev object.Event) bool {
	if _, pod := ev.Object.(*corev1.Pod); pod {
		return false
	}
	k, served := c.Kinds.ForKind(ev.Key.GroupKind)
	if !served || !scales(k) {
		return false
	}
	if ev.Type != object.Modified || ev.Old == nil {
		return true
	}
	before, _, errBefore := replicas(k, ev.Old)
	after, _, errAfter := replicas(k, ev.Object)
	return before != after || (errBefore == nil) != (errAfter == nil)
}
