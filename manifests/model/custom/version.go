package custom

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/rule"
)

// Version is one version of a definition.
type Version struct {
	of *Packed
	// spec is the version without its schema.
	spec     *apiextensionsv1.CustomResourceDefinitionVersion
	compiled kept[compiled]
	breadth  func() int
}

// strategy are the verbs of the library.
type strategy interface {
	PrepareForCreate(ctx context.Context, obj runtime.Object)
	PrepareForUpdate(ctx context.Context, obj, old runtime.Object)
	Validate(ctx context.Context, obj runtime.Object) field.ErrorList
	ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList
}

// compiled is what is made of a version's schema.
type compiled struct {
	schema            *structural.Structural
	validator, status validation.SchemaValidator
	strategy          strategy
	statusStrategy    strategy
}

// GroupVersion is the version's group and name.
func (v *Version) GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: v.of.head.Spec.Group, Version: v.spec.Name}
}

// HasStatus reports whether the status is a subresource, which a write of the
// object leaves alone.
func (v *Version) HasStatus() bool {
	return v.spec.Subresources != nil && v.spec.Subresources.Status != nil
}

// Replicas returns the path of what the scale subresource writes, spec.replicas; empty if
// there is no such subresource.
func (v *Version) Replicas() string {
	if v.spec.Subresources == nil || v.spec.Subresources.Scale == nil {
		return ""
	}
	return strings.TrimPrefix(v.spec.Subresources.Scale.SpecReplicasPath, ".")
}

// ScaleStatus returns the paths of what the scale subresource reads of the status: the
// number of replicas, and their selector, which is empty if there is none.
func (v *Version) ScaleStatus() (replicas, selector string) {
	if v.Replicas() == "" {
		return "", ""
	}
	scale := v.spec.Subresources.Scale
	if scale.LabelSelectorPath != nil {
		selector = strings.TrimPrefix(*scale.LabelSelectorPath, ".")
	}
	return strings.TrimPrefix(scale.StatusReplicasPath, "."), selector
}

// Compile fails if the schema is not one.
func (v *Version) Compile() error {
	_, err := v.compiled.get()
	return err
}

func (v *Version) compile() (compiled, error) {
	fail := func(err error) (compiled, error) {
		return compiled{}, fmt.Errorf("schema of %s in version %s: %w", v.of.head.Name, v.spec.Name, err)
	}
	given, err := apihelpers.GetSchemaForVersion(v.of.definition(), v.spec.Name)
	if err != nil {
		return fail(err)
	}
	internal := &apiextensions.CustomResourceValidation{}
	var out compiled
	if given != nil {
		if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(given, internal, nil); err != nil {
			return fail(err)
		}
		s, err := structural.NewStructural(internal.OpenAPIV3Schema)
		if err != nil {
			return fail(err)
		}
		out.schema = s.DeepCopy() // the defaults are shared with the definition
		if err := defaulting.PruneDefaults(out.schema); err != nil {
			return fail(err)
		}
	}
	validator := func(of *apiextensions.JSONSchemaProps, root bool) (validation.SchemaValidator, error) {
		validator, openapi, err := validation.NewSchemaValidator(of)
		return bounded{validator, openapi, v.breadth(), root, &sync.Map{}}, err
	}
	if out.validator, err = validator(internal.OpenAPIV3Schema, true); err != nil {
		return fail(err)
	}
	var status *apiextensions.CustomResourceSubresourceStatus
	var scale *apiextensions.CustomResourceSubresourceScale
	if v.HasStatus() {
		status = &apiextensions.CustomResourceSubresourceStatus{}
		if internal.OpenAPIV3Schema != nil {
			if s, ok := internal.OpenAPIV3Schema.Properties["status"]; ok {
				if out.status, err = validator(&s, false); err != nil {
					return fail(err)
				}
			}
		}
	}
	if v.spec.Subresources != nil && v.spec.Subresources.Scale != nil {
		scale = &apiextensions.CustomResourceSubresourceScale{}
		if err := apiextensionsv1.Convert_v1_CustomResourceSubresourceScale_To_apiextensions_CustomResourceSubresourceScale(v.spec.Subresources.Scale, scale, nil); err != nil {
			return fail(err)
		}
	}
	all := customresource.NewStrategy(nil, v.of.head.Spec.Scope == apiextensionsv1.NamespaceScoped, v.GroupVersion().WithKind(v.of.head.Spec.Names.Kind),
		out.validator, out.status, out.schema, status, scale, v.spec.SelectableFields)
	out.strategy, out.statusStrategy = all, customresource.NewStatusStrategy(all)
	return out, nil
}

// Unknown returns the paths of the fields of u that the version does not have, and
// that would be dropped from it.
func (v *Version) Unknown(u *unstructured.Unstructured) ([]string, error) {
	c, err := v.compiled.get()
	if err != nil {
		return nil, err
	}
	return c.coerce(u.DeepCopy(), v.of.head.Spec.PreserveUnknownFields)
}

// Complete makes u what is read of it: without fields that the version does not
// have, and with its defaults. It is idempotent.
func (v *Version) Complete(u *unstructured.Unstructured) error {
	c, err := v.compiled.get()
	if err != nil {
		return err
	}
	if _, err := c.coerce(u, v.of.head.Spec.PreserveUnknownFields); err != nil {
		return err
	}
	defaulting.Default(u.Object, c.schema)
	return nil
}

// coerce drops what is not in the schema, and says what that was. The metadata is
// not: its schema is that of all objects.
func (c compiled) coerce(u *unstructured.Unstructured, preserve bool) (unknown []string, err error) {
	apiVersion, kind, meta := u.Object["apiVersion"], u.Object["kind"], u.Object["metadata"]
	if !preserve && c.schema != nil {
		unknown = pruning.PruneWithOptions(u.Object, c.schema, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
		defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, c.schema)
	}
	fault, more := objectmeta.CoerceWithOptions(nil, u.Object, c.schema, false, objectmeta.CoerceOptions{ReturnUnknownFieldPaths: true})
	if fault != nil {
		return nil, fault
	}
	u.Object["apiVersion"], u.Object["kind"] = apiVersion, kind
	if meta != nil {
		u.Object["metadata"] = meta
	}
	return append(unknown, more...), nil
}

// Types returns the faults of fields whose values are of another type than the schema
// says. u need not be complete.
func (v *Version) Types(u *unstructured.Unstructured) field.ErrorList {
	c, err := v.compiled.get()
	if err != nil {
		return nil
	}
	var faults field.ErrorList
	for _, f := range validation.ValidateCustomResource(nil, u.Object, c.validator) {
		if strings.Contains(f.Detail, " must be of type ") || len(faults) > 0 && f.Detail == errMore.Error() {
			faults = append(faults, f)
		}
	}
	return faults
}

// Overflow returns the first mistakes of what is to take the place of old (nil: there
// is none), or only of its status, if there are more than are told or they would take
// too long to find: whoever validates by the library alone must not begin with it.
// It is nil for what has few, right or wrong.
func (v *Version) Overflow(u, old *unstructured.Unstructured, status bool) field.ErrorList {
	if few(u.Object, v.breadth()) {
		return nil
	}
	c, err := v.compiled.get()
	if err != nil {
		return nil // told elsewhere
	}
	var errs field.ErrorList
	u = prepared(u)
	switch {
	case old == nil:
		c.strategy.PrepareForCreate(context.Background(), u)
		errs = c.strategy.Validate(context.Background(), u)
	case status:
		c.statusStrategy.PrepareForUpdate(context.Background(), u, old)
		errs = c.overflow(c.statusStrategy, u, old, field.NewPath("status"), u.Object["status"], c.status)
	default:
		c.strategy.PrepareForUpdate(context.Background(), u, old)
		errs = c.overflow(c.strategy, u, old, nil, u.Object, c.validator)
	}
	if !unfinished(errs) {
		return nil
	}
	return rule.Bounded(errs, 0)
}

// overflow returns the mistakes of the part of u that is to take the place of old: also
// those that there have been, for which the library looks as well, if there are too many.
func (c compiled) overflow(of strategy, u, old *unstructured.Unstructured, path *field.Path, part any, by validation.SchemaValidator) field.ErrorList {
	if by != nil && part != nil {
		errs := validation.ValidateCustomResource(path, part, by)
		if unfinished(errs) {
			return errs
		}
		if b, ok := by.(bounded); ok && len(errs) == 0 {
			defer b.found(part)()
		}
	}
	return of.ValidateUpdate(context.Background(), u, old)
}

// prepared is a copy of u that a strategy may prepare.
func prepared(u *unstructured.Unstructured) *unstructured.Unstructured {
	u = &unstructured.Unstructured{Object: shallow(u.Object)}
	if meta, ok := u.Object["metadata"].(map[string]any); ok {
		u.Object["metadata"] = shallow(meta)
	}
	return u
}

// PrepareCreate does what a creation does to a new object.
func (v *Version) PrepareCreate(u *unstructured.Unstructured) {
	if c, err := v.compiled.get(); err == nil {
		c.strategy.PrepareForCreate(context.Background(), u)
	}
}

// PrepareUpdate makes u a legal successor of old: the status stays, and another
// spec is another generation.
func (v *Version) PrepareUpdate(u, old *unstructured.Unstructured) {
	if c, err := v.compiled.get(); err == nil {
		c.strategy.PrepareForUpdate(context.Background(), u, old)
	}
}

// Create validates a new object that is complete.
func (v *Version) Create(u *unstructured.Unstructured) field.ErrorList {
	c, err := v.compiled.get()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return c.strategy.Validate(context.Background(), u)
}

// Update validates a complete object that takes the place of old. One without a
// resourceVersion is taken to be based on old.
func (v *Version) Update(u, old *unstructured.Unstructured) field.ErrorList {
	c, err := v.compiled.get()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	if u.GetResourceVersion() == "" {
		u = prepared(u)
		u.SetResourceVersion(old.GetResourceVersion())
	}
	return c.strategy.ValidateUpdate(context.Background(), u, old)
}

func shallow(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	maps.Copy(out, m)
	return out
}
