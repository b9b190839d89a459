package plan

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/applyconfigurations"

	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/lifecycle"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/model/validation"
	"headway.dev/manifests/yaml/diff"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/flux"
)

// Manager is the field manager under which Git's fields are applied.
const Manager = "headway"

// applier does server-side apply in process.
type applier struct {
	managers map[schema.GroupVersionKind]*managedfields.FieldManager
	customs  map[schema.GroupVersionKind]customManager
	// by converts custom resources; nil: nobody does.
	by custom.Converter
	// ctx is that of the plan that is being made.
	ctx context.Context //nolint:containedctx // a field manager hands none on
}

func newApplier() *applier {
	return &applier{managers: map[schema.GroupVersionKind]*managedfields.FieldManager{}}
}

// typed converts by the schemas of all kinds. Reading those takes a while.
var typed = sync.OnceValue(func() managedfields.TypeConverter {
	return applyconfigurations.NewTypeConverter(scheme.Scheme)
})

// ReadSchemas loads in advance what the first plan of the process would
// otherwise have to load.
func ReadSchemas() { typed() }

// manager returns the field manager of a kind.
func (a *applier) manager(gvk schema.GroupVersionKind) (*managedfields.FieldManager, error) {
	if m := a.managers[gvk]; m != nil {
		return m, nil
	}
	var converter managedfields.TypeConverter
	if strings.HasSuffix(gvk.Group, ".fluxcd.io") || gvk.Group == "apiextensions.k8s.io" || gvk.Group == "apiregistration.k8s.io" {
		// Kinds that client-go has no schema for merge like custom resources
		// without one: maps by key, lists as a whole.
		converter = managedfields.NewDeducedTypeConverter()
	} else {
		converter = typed()
	}
	m, err := managedfields.NewDefaultFieldManager(converter, convertor{}, noDefaults{}, emptyObjects{}, gvk, gvk.GroupVersion(), "", nil)
	if err != nil {
		return nil, fmt.Errorf("field manager of %s: %w", gvk.Kind, err)
	}
	a.managers[gvk] = m
	return m, nil
}

// applied is the outcome of applying one item.
type applied struct {
	object   object.Object
	kind     *kind.Kind
	recreate bool
	// part is the subresource that changes what an update may not change.
	part   string
	reason string
	// shown is the live object as it is read, if that is not simply it.
	shown object.Object
}

// changes are the fields that an object has differently once it is stored. What
// admission changed before, and would change again, is no change; admitted reports
// that there is such, and known that admission was asked if it had to be.
func (p *Planner) changes(in Input, live object.Object, next applied) (fields []diff.Field, admitted, known bool) {
	if live == nil {
		return nil, false, true
	}
	admit := func(next, live object.Object) (object.Object, bool) {
		p.mu.Unlock() // it may ask webhooks
		defer p.mu.Lock()
		return in.Admit(next, live)
	}
	if next.recreate {
		made, known := next.created(live), true
		if in.Admit != nil {
			var anew object.Object
			if anew, known = admit(made, nil); anew != nil {
				made, admitted = anew, true
			}
		}
		return next.differ(live, placed(made, live)), admitted, known
	}
	if fields = next.differ(live, next.object); len(fields) == 0 || in.Admit == nil {
		return fields, false, true
	}
	made, known := admit(next.object, live)
	if made != nil {
		return next.differ(live, made), true, known
	}
	return fields, false, known
}

// created is an object that is made anew as the server stores it, with the UID of the one
// whose place it takes: what the server makes of that, as the selector of a Job, is no
// change.
func (next applied) created(live object.Object) object.Object {
	made, _ := next.object.DeepCopyObject().(object.Object)
	made.SetUID(live.GetUID())
	lifecycle.PrepareCreateOf(next.kind, made, time.Time{})
	return made
}

// placed is an object that is made anew where the one is whose place it takes: a node or
// a volume that is found for it later is no change.
func placed(made, live object.Object) object.Object {
	switch was := live.(type) {
	case *corev1.Pod:
		if pod, ok := made.(*corev1.Pod); ok && pod.Spec.NodeName == "" {
			pod = pod.DeepCopy()
			pod.Spec.NodeName = was.Spec.NodeName
			return pod
		}
	case *corev1.PersistentVolumeClaim:
		if claim, ok := made.(*corev1.PersistentVolumeClaim); ok && claim.Spec.VolumeName == "" {
			claim = claim.DeepCopy()
			claim.Spec.VolumeName = was.Spec.VolumeName
			return claim
		}
	}
	return made
}

// apply makes the state that the item and the live object (or nil) give
// together, with defaults, and validates it.
func (a *applier) apply(in Input, defined *kind.Kind, key object.Key, item load.Item, live object.Object) (applied, []*Error) {
	if defined != nil {
		return a.custom(in, defined, key, item, live)
	}
	fail := func(err error) (applied, []*Error) {
		return applied{}, []*Error{{Source: item.Source, Key: key, Reason: item.Redact(err.Error())}}
	}
	kind, ok := scheme.ForKind(key.GroupKind)
	if !ok {
		return fail(fmt.Errorf("kind %s is not served", key.GroupKind))
	}
	if twice := validation.Duplicates(item.Object); len(twice) > 0 {
		return applied{}, errorsAt(item, key, twice)
	}
	patch, err := patchOf(in.Owner, key, kind.GroupVersionKind, item.Object)
	if err != nil {
		return fail(err)
	}
	from, byHand, note := live, false, ""
	if live != nil {
		keepSuspended(patch, live)
		if err := keepIgnored(in.Ignore, kind.GroupVersionKind, patch, live); err != nil {
			return fail(err)
		}
		if kind.Scale != nil {
			left, err := leaveReplicas(in.scaled[key], patch, live, "spec.replicas")
			if err != nil {
				return fail(err)
			}
			note = left
		}
		if from, byHand, err = override(kind.GroupVersion(), item.Object, live); err != nil {
			return fail(err)
		}
	}
	next, err := a.merge(kind, patch, from)
	if err != nil {
		return fail(err)
	}
	if live == nil {
		return applied{object: next, kind: kind}, errorsAt(item, key, createFaults(next))
	}
	if !byHand {
		keepReplicas(next, live, patch)
	}
	defaults.Apply(next)
	// Without it, what the server gave an object of the old type would be
	// taken for what Git asks of the new one.
	lifecycle.PrepareUpdate(next, live)
	faults := validation.Update(next, live)
	if len(faults) == 0 {
		return applied{object: next, kind: kind, reason: note}, nil
	}
	part, wrong := throughPart(kind, next, live)
	var reason string
	var errs []*Error
	if part.Name != "" && len(wrong) == 0 {
		// What can be changed is, and not made anew, unless nothing came of it.
		reason = part.Over(live)
		if reason != "" && !mayForce(in, item) {
			reason += howToForce
		}
		if reason == "" || !mayForce(in, item) {
			return applied{object: next, kind: kind, part: part.Name, reason: reason}, nil
		}
	} else if reason, errs = forced(in, item, key, faults); len(errs) > 0 {
		return applied{}, append(errs, errorsAt(item, key, wrong)...)
	}
	fresh, err := a.merge(kind, patch, nil)
	if err != nil {
		return fail(err)
	}
	return applied{object: fresh, kind: kind, recreate: true, reason: reason}, errorsAt(item, key, createFaults(fresh))
}

// createFaults is what is wrong with a new object, with what the server gives it: the
// selector of a Job contains its UID.
func createFaults(obj object.Object) field.ErrorList {
	created, _ := obj.DeepCopyObject().(object.Object)
	lifecycle.PrepareCreate(created, time.Time{})
	return validation.Create(created)
}

// throughPart finds the part that manifests declare by which next differs from live in
// what an update may not change, as the resources of a pod, and what is wrong with it.
func throughPart(k *kind.Kind, next, live object.Object) (found kind.Part[object.Object], wrong field.ErrorList) {
	for _, part := range k.Parts {
		if !part.Declared {
			continue
		}
		// The rest of next, with the part of live.
		rest, _ := live.DeepCopyObject().(object.Object)
		part.Update(rest, next)
		rest.SetLabels(next.GetLabels())
		rest.SetAnnotations(next.GetAnnotations())
		rest.SetOwnerReferences(next.GetOwnerReferences())
		rest.SetFinalizers(next.GetFinalizers())
		if len(validation.Update(rest, live)) > 0 {
			continue
		}
		with, _ := next.DeepCopyObject().(object.Object)
		lifecycle.PreparePart(with, rest, part)
		return part, validation.UpdatePart(with, rest, part)
	}
	return found, nil
}

// howToForce ends what is said of an object that is not made anew.
const howToForce = " (set spec.force on the Kustomization, or " + flux.Force + ": " + enabled + " on the object, to delete and create it)"

// mayForce reports whether an object that cannot be changed is to be deleted and created.
func mayForce(in Input, item load.Item) bool {
	return in.Force || inMetadata(item.Object, flux.Force, enabled)
}

// forced is why an object that cannot be updated is deleted and created, or what is
// wrong if it must not be.
func forced(in Input, item load.Item, key object.Key, faults field.ErrorList) (reason string, errs []*Error) {
	immutable := immutableFields(faults)
	if !mayForce(in, item) || len(immutable) < len(faults) {
		errs := errorsAt(item, key, faults)
		if i := slices.IndexFunc(faults, isImmutable); i >= 0 && i < len(errs) && !mayForce(in, item) {
			errs[i].Reason += howToForce
		}
		return "", errs
	}
	return "immutable: " + strings.Join(immutable, ", "), nil
}

// merge applies the patch onto live, or onto an empty object.
func (a *applier) merge(kind *kind.Kind, patch map[string]any, live object.Object) (object.Object, error) {
	m, err := a.manager(kind.GroupVersionKind)
	if err != nil {
		return nil, err
	}
	base := kind.New()
	if live != nil {
		// The field manager clears managedFields in what it is given.
		base, _ = live.DeepCopyObject().(object.Object)
	}
	base.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind)
	out, err := m.Apply(base, &unstructured.Unstructured{Object: runtime.DeepCopyJSON(patch)}, Manager, true)
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	if u, ok := out.(*unstructured.Unstructured); ok {
		if out, err = (convertor{}).ConvertToVersion(u, kind.GroupVersion()); err != nil {
			return nil, fmt.Errorf("apply: %w", err)
		}
	}
	next, ok := out.(object.Object)
	if !ok {
		return nil, fmt.Errorf("apply: unexpected %T", out)
	}
	if live == nil {
		defaults.Apply(next)
	}
	return next, nil
}

// patchOf is the apply patch of an item: exactly what the manifest sets, and
// the owner's labels.
func patchOf(owner Owner, key object.Key, gvk schema.GroupVersionKind, want object.Object) (map[string]any, error) {
	obj, _ := want.DeepCopyObject().(object.Object)
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	obj.SetNamespace(key.Namespace)
	obj.SetManagedFields(nil)
	obj.SetResourceVersion("")
	obj.SetUID("")
	obj.SetGeneration(0)
	labels := maps.Clone(obj.GetLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	labels[OwnerNameLabel], labels[OwnerNamespaceLabel] = owner.Name, owner.Namespace
	obj.SetLabels(labels)
	if s, ok := obj.(*corev1.Secret); ok && len(s.StringData) > 0 {
		// Write-only in the API: what is stored is data.
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		for k, v := range s.StringData {
			s.Data[k] = []byte(v)
		}
		s.StringData = nil
	}
	m, err := toMap(obj)
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	delete(m, "status")
	return m, nil
}

// keepReplicas leaves the number of replicas alone that the manifest does not
// set: something else scales the object.
func keepReplicas(next, live object.Object, patch map[string]any) {
	if _, set, _ := unstructured.NestedFieldNoCopy(patch, "spec", "replicas"); set {
		return
	}
	k, ok := scheme.ForObject(next)
	if was, same := scheme.ForObject(live); ok && same && was == k && k.Scale != nil {
		*k.Scale(next).Replicas = *k.Scale(live).Replicas
	}
}

// immutableFields are the faults that only a new object gets rid of.
func immutableFields(faults field.ErrorList) []string {
	var names []string
	for _, f := range faults {
		if isImmutable(f) {
			names = append(names, f.Field)
		}
	}
	return names
}

func isImmutable(f *field.Error) bool {
	return strings.Contains(f.Detail, "immutable") || strings.Contains(f.Detail, "may not change once set") || strings.Contains(f.Detail, "may not change fields other than")
}

func errorsAt(item load.Item, key object.Key, faults field.ErrorList) []*Error {
	var errs []*Error
	for _, f := range rule.Bounded(faults, 0) {
		at := f.Field
		if item.Redact(at) != at { // a key that is secret
			at = ""
		}
		errs = append(errs, &Error{Source: item.Fault(f.Field, "").Source, Key: key, Field: at, Reason: item.Redact(rule.Words(f))})
	}
	return errs
}

// convertor has no versions to convert between: it makes typed objects of
// merged ones.
type convertor struct{}

// Convert implements runtime.ObjectConvertor.
func (convertor) Convert(_, _, _ any) error { return fmt.Errorf("not supported") }

// ConvertFieldLabel implements runtime.ObjectConvertor.
func (convertor) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// ConvertToVersion implements runtime.ObjectConvertor.
func (convertor) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return in, nil
	}
	kind, ok := scheme.ForKind(u.GroupVersionKind().GroupKind())
	if !ok {
		return nil, fmt.Errorf("kind %s is not served", u.GroupVersionKind())
	}
	obj := kind.New()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, obj); err != nil {
		return nil, fmt.Errorf("convert %s: %w", kind.Kind, err)
	}
	obj.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind)
	return obj, nil
}

// emptyObjects makes empty objects that know their kind, which the field manager
// cannot do without.
type emptyObjects struct{}

// New implements runtime.ObjectCreater.
func (emptyObjects) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	kind, ok := scheme.ForKind(gvk.GroupKind())
	if !ok {
		return nil, fmt.Errorf("kind %s is not served", gvk.GroupKind())
	}
	obj := kind.New()
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj, nil
}

type noDefaults struct{}

// Default implements runtime.ObjectDefaulter; defaults are set after fields
// that the manifest does not set have been kept.
func (noDefaults) Default(runtime.Object) {}
