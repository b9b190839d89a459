package plan

import (
	"errors"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/diff"
	"headway.dev/manifests/yaml/load"
)

// A custom resource is judged by the definition that there will be once the plan is
// carried out: the one of the commit, or else the stored one. Definitions come before
// all other kinds in the order of a plan, but for namespaces, so that they are known.

// definitions are the kinds of a plan.
type definitions struct {
	set *scheme.Set
	// complete says that the definitions of the plan are in the set.
	complete bool
	// broken are the kinds of definitions that are refused: nothing more is said of
	// their objects.
	broken map[schema.GroupKind]bool
}

// refused notes a definition that cannot be applied.
func (d *definitions) refused(item load.Item) {
	if crd, ok := item.Object.(*apiextensionsv1.CustomResourceDefinition); ok {
		if d.broken == nil {
			d.broken = map[schema.GroupKind]bool{}
		}
		d.broken[schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}] = true
	}
}

// complement adds the definitions among the actions so far, once.
func (d *definitions) complement(actions []Action) {
	if d.complete {
		return
	}
	d.complete = true
	var list []*apiextensionsv1.CustomResourceDefinition
	for _, a := range actions {
		if a.Key.GroupKind != scheme.Definition {
			continue
		}
		obj := a.Object
		if obj == nil {
			obj = a.Live
		}
		if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok {
			list = append(list, crd)
		}
	}
	if len(list) > 0 {
		d.set = d.set.With(list...)
	}
}

// noMatch is the fault of an item of a kind that nobody defines, in kubectl's words.
func noMatch(item load.Item, key object.Key) *Error {
	gvk := item.Object.GetObjectKind().GroupVersionKind()
	return &Error{Source: item.Fault("kind", "").Source, Key: key, Field: "kind", Reason: fmt.Sprintf("no matches for kind %q in version %q", gvk.Kind, gvk.GroupVersion())}
}

// defined finds the kind of a custom resource, or says why there can be none such.
func (d *definitions) defined(key object.Key, item load.Item, live object.Object, stored object.Reader) (*kind.Kind, []*Error) {
	k, ok := d.set.ForKind(key.GroupKind)
	refused := ""
	if !ok && !d.broken[key.GroupKind] {
		var crd *apiextensionsv1.CustomResourceDefinition
		if crd, refused = scheme.Coming(stored, key.GroupKind); crd != nil {
			d.set = d.set.With(crd)
			k, ok = d.set.ForKind(key.GroupKind)
		}
	}
	switch {
	case !ok && d.broken[key.GroupKind]:
		return nil, []*Error{{Source: item.Source, Key: key, Reason: "its CustomResourceDefinition is refused"}}
	case !ok || k.Custom == nil || !k.Custom.Serves(item.Object.GetObjectKind().GroupVersionKind().Version):
		err := noMatch(item, key)
		if refused != "" {
			err.Reason += ": " + refused
		}
		return nil, []*Error{err}
	case k.Namespaced != (key.Namespace != ""):
		// It was rendered before the definition was known.
		return nil, []*Error{{Source: item.Source, Key: key, Reason: "its CustomResourceDefinition has just come, with another scope than before: it is rendered again"}}
	}
	if live == nil {
		crd := stored.Get(object.Key{GroupKind: scheme.Definition, Name: k.Custom.Name()})
		if crd != nil && crd.GetDeletionTimestamp() != nil {
			return nil, []*Error{{Source: item.Source, Key: key, Reason: "create not allowed while custom resource definition is terminating"}}
		}
	}
	return k, nil
}

// custom is apply for a custom resource, in the version that the item has.
func (a *applier) custom(in Input, k *kind.Kind, key object.Key, item load.Item, live object.Object) (applied, []*Error) {
	fail := func(err error) (applied, []*Error) {
		return applied{}, []*Error{{Source: item.Source, Key: key, Reason: item.Redact(err.Error())}}
	}
	want, ok := item.Object.(*unstructured.Unstructured)
	if !ok {
		return fail(fmt.Errorf("unexpected %T", item.Object))
	}
	gvk := want.GroupVersionKind()
	version, ok := k.Custom.Version(gvk.Version)
	storage, there := k.Custom.Version(k.Version)
	if !ok || !there {
		return applied{}, []*Error{noMatch(item, key)}
	}
	unknown, err := version.Unknown(want)
	if fault := (*field.Error)(nil); errors.As(err, &fault) {
		return applied{}, errorsAt(item, key, field.ErrorList{fault})
	} else if err != nil {
		return fail(err)
	}
	if len(unknown) > 0 {
		return applied{}, unknownAt(item, key, unknown)
	}
	patch, err := patchOf(in.Owner, key, gvk, want)
	if err != nil {
		return fail(err)
	}
	if status, ok := want.Object["status"]; ok && !version.HasStatus() {
		patch["status"] = runtime.DeepCopyJSONValue(status)
	}
	if faults := version.Types(want); len(faults) > 0 {
		// Merging would tell of the first of them, and not where it is.
		return applied{}, errorsAt(item, key, faults)
	}
	m, err := a.customManager(k.Custom, gvk)
	if err != nil {
		return fail(err)
	}
	merge := func(base *unstructured.Unstructured) (*unstructured.Unstructured, error) {
		out, err := m.Apply(base, &unstructured.Unstructured{Object: runtime.DeepCopyJSON(patch)}, Manager, true)
		if err != nil {
			return nil, fmt.Errorf("apply: %w", err)
		}
		next, ok := out.(*unstructured.Unstructured)
		if !ok {
			return nil, fmt.Errorf("apply: unexpected %T", out)
		}
		return next, version.Complete(next)
	}
	create := func() (*unstructured.Unstructured, field.ErrorList, error) {
		base := &unstructured.Unstructured{}
		base.SetGroupVersionKind(gvk)
		next, err := merge(base)
		if err != nil {
			return nil, nil, err
		}
		return next, version.Create(next), nil
	}
	settled := func(next *unstructured.Unstructured) (*unstructured.Unstructured, error) {
		next, err := a.convert(k.Custom, next, k.GroupVersion())
		if err == nil && version != storage {
			err = storage.Complete(next)
		}
		return next, err
	}
	if err := storage.Compile(); err != nil {
		return fail(err)
	}
	if live == nil {
		next, faults, err := create()
		if err != nil {
			return fail(err)
		}
		if len(faults) > 0 {
			return applied{}, errorsAt(item, key, faults)
		}
		if next, err = settled(next); err != nil {
			return fail(err)
		}
		return applied{object: next, kind: k}, nil
	}
	was, ok := live.(*unstructured.Unstructured)
	if !ok {
		return fail(fmt.Errorf("unexpected %T", live))
	}
	// What is stored may be from before the schema of today.
	shown, err := a.convert(k.Custom, was, k.GroupVersion())
	if err != nil {
		return fail(err)
	}
	shown = shown.DeepCopy()
	if err := storage.Complete(shown); err != nil {
		return fail(err)
	}
	base, err := a.convert(k.Custom, shown, gvk.GroupVersion())
	if err != nil {
		return fail(err)
	}
	if base == shown {
		base = shown.DeepCopy()
	} else if err := version.Complete(base); err != nil {
		return fail(err)
	}
	if err := keepIgnored(in.Ignore, gvk, patch, base); err != nil {
		return fail(err)
	}
	note := ""
	if path := version.Replicas(); path != "" {
		if note, err = leaveReplicas(in.scaled[key], patch, base, path); err != nil {
			return fail(err)
		}
	}
	from, _, err := override(gvk.GroupVersion(), want, base)
	if err != nil {
		return fail(err)
	}
	over, _ := from.(*unstructured.Unstructured)
	next, err := merge(over.DeepCopy())
	if err != nil {
		return fail(err)
	}
	version.PrepareUpdate(next, base)
	faults := version.Update(next, base)
	if len(faults) == 0 {
		if next, err = settled(next); err != nil {
			return fail(err)
		}
		return applied{object: next, shown: shown, kind: k, reason: note}, nil
	}
	reason, errs := forced(in, item, key, faults)
	if len(errs) > 0 {
		return applied{}, errs
	}
	fresh, faults, err := create()
	if err != nil {
		return fail(err)
	}
	if len(faults) > 0 {
		return applied{}, errorsAt(item, key, faults)
	}
	if fresh, err = settled(fresh); err != nil {
		return fail(err)
	}
	return applied{object: fresh, shown: shown, kind: k, recreate: true, reason: reason}, nil
}

// convert returns u in a version. A webhook that cannot be asked yet, because it comes
// with the same commit, keeps the commit from being applied: what it would answer is
// part of the plan.
func (a *applier) convert(of *custom.Definition, u *unstructured.Unstructured, version schema.GroupVersion) (*unstructured.Unstructured, error) {
	out, err := of.Convert(a.ctx, u, version, a.by)
	if err != nil {
		return nil, fmt.Errorf("it cannot be converted from %s to %s, in which it is stored or declared: %w; a webhook has to answer before what it converts is applied", u.GetAPIVersion(), version, err)
	}
	return out, nil
}

// WithDefaults returns a copy of an object with all defaults, those of custom resources
// by their definitions among kinds.
func WithDefaults(kinds *scheme.Registry, obj object.Object) object.Object {
	full, _ := obj.DeepCopyObject().(object.Object)
	u, ok := full.(*unstructured.Unstructured)
	if !ok {
		defaults.Apply(full)
		return full
	}
	gvk := u.GroupVersionKind()
	if k, ok := kinds.ForKind(gvk.GroupKind()); ok && k.Custom != nil {
		if version, ok := k.Custom.Version(gvk.Version); ok {
			_ = version.Complete(u) // or it could not be stored
		}
	}
	return full
}

// unknownAt are the errors of the first fields that a version does not have.
func unknownAt(item load.Item, key object.Key, paths []string) []*Error {
	told := paths[:min(len(paths), rule.MostErrors+1)]
	var errs []*Error
	for _, path := range told {
		errs = append(errs, &Error{Source: item.Fault(path, "").Source, Key: key, Field: item.Redact(path), Reason: "unknown field"})
	}
	if left := len(paths) - len(told); left > 0 {
		errs[len(errs)-1].Reason += fmt.Sprintf(" (%d further errors are not listed)", left)
	}
	return errs
}

// customManager is one version's field manager of a definition.
type customManager struct {
	of      *custom.Definition
	manager *managedfields.FieldManager
}

func (a *applier) customManager(of *custom.Definition, gvk schema.GroupVersionKind) (*managedfields.FieldManager, error) {
	if m := a.customs[gvk]; m.of == of && m.manager != nil {
		return m.manager, nil
	}
	converter, err := of.Converter()
	if err != nil {
		return nil, err
	}
	m, err := managedfields.NewDefaultCRDFieldManager(converter, versions{of: of, a: a}, noDefaults{}, custom.Creater{}, gvk, gvk.GroupVersion(), "", nil)
	if err != nil {
		return nil, fmt.Errorf("field manager of %s: %w", gvk.Kind, err)
	}
	if a.customs == nil {
		a.customs = map[schema.GroupVersionKind]customManager{}
	}
	a.customs[gvk] = customManager{of, m}
	return m, nil
}

// versions converts custom resources between their versions.
type versions struct {
	convertor
	of *custom.Definition
	a  *applier
}

// ConvertToVersion implements runtime.ObjectConvertor.
func (v versions) ConvertToVersion(in runtime.Object, to runtime.GroupVersioner) (runtime.Object, error) {
	return v.of.ConvertTo(v.a.ctx, in, to, v.a.by)
}

// differ lists what an apply changes. The status of a custom resource is a field like
// others if it is not a subresource.
func (next applied) differ(live, made object.Object) []diff.Field {
	if next.shown != nil {
		live = next.shown
	}
	fields := diff.Objects(live, made)
	was, isCustom := live.(*unstructured.Unstructured)
	u, ok := made.(*unstructured.Unstructured)
	if isCustom && ok && next.kind != nil && !next.kind.Status {
		fields = append(fields, diff.Status(was, u)...)
	}
	return fields
}
