package fairness

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Store is what Reconcile needs of the store.
type Store interface {
	object.Reader
	Commit(ctx context.Context, tx change.Tx) ([]object.Object, error)
}

var kinds = []string{"FlowSchema", "PriorityLevelConfiguration"}

// wanted is one of the objects that every cluster has.
type wanted struct {
	object.Object
	// fixed is nobody's to change.
	fixed bool
}

// Reconcile creates the schemas and levels that every cluster has and that are
// missing. It resets the mandatory ones, and those of the suggested ones that
// nobody took over: by the annotation apf.kubernetes.io/autoupdate-spec, or, where
// that is missing, by an edit. What an earlier version suggested and this one does
// not is deleted.
// https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults
func Reconcile(ctx context.Context, store Store, now time.Time) error {
	all := configured()
	var changes []change.Change
	for _, want := range all {
		key, err := scheme.KeyOf(want.Object)
		if err != nil {
			return err
		}
		switch live := store.Get(key); {
		case live == nil:
			changes = append(changes, change.Create(want.DeepCopyObject().(object.Object), now))
		case live.GetDeletionTimestamp() == nil && !settled(live, want):
			changes = append(changes, change.Patch(key, func(obj object.Object) bool { return settle(obj, want) }))
		}
	}
	for _, name := range kinds {
		list, _ := store.List(flowcontrolv1.SchemeGroupVersion.WithKind(name).GroupKind(), "")
		for _, obj := range list {
			known := slices.ContainsFunc(all, func(w wanted) bool { return sameKind(w, obj) && w.GetName() == obj.GetName() })
			if ours, said := automatic(obj); !known && ours && said && obj.GetDeletionTimestamp() == nil {
				key, err := scheme.KeyOf(obj)
				if err != nil {
					return err
				}
				changes = append(changes, change.Delete(key, metav1.DeleteOptions{}, now))
			}
		}
	}
	if len(changes) == 0 {
		return nil
	}
	if _, err := store.Commit(ctx, change.Tx{Changes: changes}); err != nil {
		return fmt.Errorf("reconcile the configuration of the flow control: %w", err)
	}
	return nil
}

// configured are the objects that every cluster has, with all their fields.
func configured() []wanted {
	var all []wanted
	add := func(fixed bool, obj object.Object) {
		obj = obj.DeepCopyObject().(object.Object)
		defaults.Apply(obj)
		all = append(all, wanted{obj, fixed})
	}
	for _, level := range bootstrap.MandatoryPriorityLevelConfigurations {
		add(true, level)
	}
	for _, level := range bootstrap.SuggestedPriorityLevelConfigurations {
		add(false, level)
	}
	for _, schema := range bootstrap.MandatoryFlowSchemas {
		add(true, schema)
	}
	for _, schema := range bootstrap.SuggestedFlowSchemas {
		add(false, schema)
	}
	return all
}

// settled reports whether nothing has to be done about an object.
func settled(live object.Object, want wanted) bool {
	return !settle(live.DeepCopyObject().(object.Object), want)
}

// settle gives obj the spec and the annotation that it should have, and reports
// whether that changes something.
func settle(obj object.Object, want wanted) bool {
	ours, said := automatic(obj)
	update := want.fixed || ours
	changed := !said || ours != update
	if changed {
		annotations := map[string]string{}
		maps.Copy(annotations, obj.GetAnnotations())
		annotations[flowcontrolv1.AutoUpdateAnnotationKey] = strconv.FormatBool(update)
		obj.SetAnnotations(annotations)
	}
	return update && reset(obj, want) || changed
}

// automatic reports whether an object follows what is suggested, and whether it
// says so itself. One that says nothing does unless it was edited.
func automatic(obj object.Object) (follows, said bool) {
	if follows, err := strconv.ParseBool(obj.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey]); err == nil {
		return follows, true
	}
	return obj.GetGeneration() == 1, false
}

// reset gives obj the spec of want. How much the exempt level lends is the
// administrator's.
func reset(obj object.Object, want wanted) bool {
	switch obj := obj.(type) {
	case *flowcontrolv1.FlowSchema:
		spec := &want.Object.(*flowcontrolv1.FlowSchema).Spec
		if equality.Semantic.DeepEqual(obj.Spec, *spec) {
			return false
		}
		spec.DeepCopyInto(&obj.Spec)
	case *flowcontrolv1.PriorityLevelConfiguration:
		spec := want.Object.(*flowcontrolv1.PriorityLevelConfiguration).Spec.DeepCopy()
		if obj.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt && obj.Spec.Exempt != nil {
			spec.Exempt = obj.Spec.Exempt
		}
		if equality.Semantic.DeepEqual(obj.Spec, *spec) {
			return false
		}
		obj.Spec = *spec
	}
	return true
}

func sameKind(a wanted, b object.Object) bool {
	_, left := a.Object.(*flowcontrolv1.FlowSchema)
	_, right := b.(*flowcontrolv1.FlowSchema)
	return left == right
}
