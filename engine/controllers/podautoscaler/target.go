package podautoscaler

import (
	"context"
	"errors"
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

// scale is what an autoscaler needs of its target.
type scale struct {
	key    object.Key
	object object.Object
	// replicas is how many the target asks for, and present how many its status has.
	replicas, present int32
	// selector selects the pods; empty: the target does not say.
	selector string
}

// errNoScale is what clients say of a kind without a scale.
var errNoScale = errors.New("the server could not find the requested resource")

// scaleOf reads the scale of an autoscaler's target.
func (c *controller) scaleOf(namespace string, ref autoscalingv2.CrossVersionObjectReference) (*scale, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, err
	}
	k, served := c.Kinds.ForKind(schema.GroupKind{Group: gv.Group, Kind: ref.Kind})
	if !served {
		return nil, &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: gv.Group, Kind: ref.Kind}}
	}
	s := &scale{key: object.Key{GroupKind: k.GroupKind(), Namespace: namespace, Name: ref.Name}}
	if s.object = c.Store.Get(s.key); s.object == nil {
		return nil, apierrors.NewNotFound(k.Resource().GroupResource(), ref.Name)
	}
	ok, err := s.read(k)
	if err == nil && !ok {
		err = errNoScale
	}
	return s, err
}

// read fills in what the object says; ok is false if its kind has no scale.
func (s *scale) read(k *kind.Kind) (ok bool, err error) {
	u, custom := s.object.(*unstructured.Unstructured)
	if !custom || k.Custom == nil {
		if k.Scale == nil {
			return false, nil
		}
		of := k.Scale(s.object)
		s.replicas, s.present = 1, of.Current
		if n := *of.Replicas; n != nil {
			s.replicas = *n
		}
		selector, err := metav1.LabelSelectorAsSelector(of.Selector)
		if err != nil {
			return true, err
		}
		if of.Selector != nil {
			s.selector = selector.String()
		}
		return true, nil
	}
	v, ok := k.Custom.Version(u.GroupVersionKind().Version)
	if !ok || v.Replicas() == "" {
		return false, nil
	}
	number := func(path string) (n int32, found bool, err error) {
		value, found, err := unstructured.NestedInt64(u.UnstructuredContent(), strings.Split(path, ".")...)
		return clamp(float64(value)), found, err
	}
	present, selector := v.ScaleStatus()
	var found bool
	if s.replicas, found, err = number(v.Replicas()); err != nil || !found {
		if err == nil {
			err = fmt.Errorf("the spec replicas field %q does not exist", "."+v.Replicas())
		}
		return true, err
	}
	if s.present, _, err = number(present); err != nil {
		return true, err
	}
	if selector != "" {
		s.selector, _, err = unstructured.NestedString(u.UnstructuredContent(), strings.Split(selector, ".")...)
	}
	return true, err
}

// rescale has the target ask for n replicas, if it still asks for as many as were read.
func (c *controller) rescale(ctx context.Context, s *scale, n int32) error {
	k, served := c.Kinds.ForKind(s.key.GroupKind)
	if !served {
		return &meta.NoKindMatchError{GroupKind: s.key.GroupKind}
	}
	done := false
	write := change.Patch(s.key, func(obj object.Object) bool {
		now := scale{object: obj}
		if ok, err := now.read(k); obj.GetUID() != s.object.GetUID() || !ok || err != nil || now.replicas != s.replicas {
			return false
		}
		done = set(k, obj, n)
		return done
	})
	if _, err := c.Commit(ctx, change.Tx{Changes: []change.Change{write}}); err != nil {
		return err
	}
	if !done {
		return apierrors.NewConflict(k.Resource().GroupResource(), s.key.Name, errors.New("the number of replicas has changed; please apply your changes to the latest version and try again"))
	}
	return nil
}

// set writes the number of replicas into an object.
func set(k *kind.Kind, obj object.Object, n int32) bool {
	u, custom := obj.(*unstructured.Unstructured)
	if !custom || k.Custom == nil {
		*k.Scale(obj).Replicas = &n
		return true
	}
	v, ok := k.Custom.Version(u.GroupVersionKind().Version)
	return ok && unstructured.SetNestedField(u.UnstructuredContent(), int64(n), strings.Split(v.Replicas(), ".")...) == nil
}

// parsed is the selector of a scale, or why there is none, in the words of a condition.
func (s *scale) parsed() (selector labels.Selector, reason string, err error) {
	if s.selector == "" {
		return nil, "InvalidSelector", errors.New("the HPA target's scale is missing a selector")
	}
	selector, err = labels.Parse(s.selector)
	if err != nil {
		return nil, "InvalidSelector", fmt.Errorf("couldn't convert selector into a corresponding internal selector object: %w", err)
	}
	return selector, "", nil
}

// scaled reports whether an event changes what a target asks for. Others than the
// autoscaler have done that if it is not what the autoscaler wants.
func (c *controller) scaled(ev object.Event) (n int32, yes bool) {
	if ev.Key.GroupKind == control.Pod {
		return 0, false
	}
	k, served := c.Kinds.ForKind(ev.Key.GroupKind)
	if !served || ev.Type == object.Deleted {
		return 0, false
	}
	now := scale{object: ev.Object}
	if ok, err := now.read(k); !ok || err != nil {
		return 0, false
	}
	if ev.Type == object.Modified && ev.Old != nil {
		was := scale{object: ev.Old}
		if ok, err := was.read(k); ok && err == nil && was.replicas == now.replicas && ev.Old.GetUID() == ev.Object.GetUID() {
			return 0, false
		}
	}
	return now.replicas, true
}
