// Package strategy tells k8s.io/apiserver what each verb does to each kind, by
// calling manifests/model/lifecycle and manifests/model/validation. One [Main] and one
// [Status] serve every kind; a kind differs through its definition in
// manifests/model/kinds.
//
// Strategies are immutable and safe for concurrent use.
package strategy

import (
	"context"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/lifecycle"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/model/support"
	"headway.dev/manifests/model/validation"
)

// Main is the strategy of a kind's main resource.
type Main struct {
	runtime.ObjectTyper
	names.NameGenerator
	kind *kind.Kind
	now  func() time.Time
}

// New makes the strategy of the main resource of a kind. now is the clock of
// creation and deletion stamps.
func New(kind *kind.Kind, now func() time.Time) Main {
	return Main{ObjectTyper: scheme.Scheme, NameGenerator: names.SimpleNameGenerator, kind: kind, now: now}
}

// NamespaceScoped implements the rest strategies.
func (s Main) NamespaceScoped() bool { return s.kind.Namespaced }

// PrepareForCreate implements rest.RESTCreateStrategy.
func (s Main) PrepareForCreate(_ context.Context, obj runtime.Object) {
	lifecycle.PrepareCreate(obj.(object.Object), s.now())
}

// Validate implements rest.RESTCreateStrategy.
func (s Main) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	return validation.Create(obj.(object.Object))
}

// WarningsOnCreate implements rest.RESTCreateStrategy.
func (s Main) WarningsOnCreate(_ context.Context, obj runtime.Object) []string {
	return s.warnings(obj, nil)
}

// warnings are what the kind tells of obj, and its fields that have no effect.
func (s Main) warnings(obj runtime.Object, old object.Object) []string {
	var texts []string
	if s.kind.Warnings != nil {
		texts = s.kind.Warnings(obj.(object.Object), old)
	}
	for _, w := range support.Warnings(obj) {
		texts = append(texts, w.String())
	}
	return texts
}

// Canonicalize implements the rest strategies.
func (s Main) Canonicalize(runtime.Object) {}

// AllowCreateOnUpdate implements rest.RESTUpdateStrategy.
func (s Main) AllowCreateOnUpdate(context.Context) bool { return s.kind.REST.CreateOnUpdate }

// AllowUnconditionalUpdate implements rest.RESTUpdateStrategy.
func (s Main) AllowUnconditionalUpdate(context.Context) bool { return !s.kind.REST.VersionRequired }

// PrepareForUpdate implements rest.RESTUpdateStrategy. Who says that the object has
// another identity, or is being deleted, is not overheard: validation refuses it.
func (s Main) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	next, current := obj.(object.Object), old.(object.Object)
	uid, deleted, grace := next.GetUID(), next.GetDeletionTimestamp(), next.GetDeletionGracePeriodSeconds()
	lifecycle.PrepareUpdate(next, current)
	if uid != "" {
		next.SetUID(uid)
	}
	if current.GetDeletionTimestamp() == nil {
		next.SetDeletionTimestamp(deleted)
	}
	if grace != nil {
		next.SetDeletionGracePeriodSeconds(grace)
	}
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s Main) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validation.Update(obj.(object.Object), old.(object.Object))
}

// WarningsOnUpdate implements rest.RESTUpdateStrategy.
func (s Main) WarningsOnUpdate(_ context.Context, obj, old runtime.Object) []string {
	return s.warnings(obj, old.(object.Object))
}

// GetResetFields implements rest.ResetFieldsStrategy: whoever applies the main
// resource does not come to own its status.
func (s Main) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	if !s.kind.Status {
		return nil
	}
	return s.reset(fieldpath.MakePathOrDie("status"))
}

// DefaultGarbageCollectionPolicy implements rest.GarbageCollectionDeleteStrategy.
func (s Main) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	if s.kind.REST.NoDependents {
		return rest.Unsupported
	}
	if s.kind.REST.Orphans {
		return rest.OrphanDependents
	}
	return rest.DeleteDependents
}

func (s Main) reset(paths ...fieldpath.Path) map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(s.kind.GroupVersion().String()): fieldpath.NewSet(paths...),
	}
}

// Status is the strategy of a kind's status subresource.
type Status struct{ Main }

// AllowCreateOnUpdate implements rest.RESTUpdateStrategy.
func (s Status) AllowCreateOnUpdate(context.Context) bool { return false }

// PrepareForUpdate implements rest.RESTUpdateStrategy.
func (s Status) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	lifecycle.PrepareUpdateStatus(obj.(object.Object), old.(object.Object))
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s Status) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validation.UpdateStatus(obj.(object.Object), old.(object.Object))
}

// WarningsOnUpdate implements rest.RESTUpdateStrategy: who writes a status has
// not written the fields that there would be a warning about.
func (s Status) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// GetResetFields implements rest.ResetFieldsStrategy.
func (s Status) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	paths := []fieldpath.Path{fieldpath.MakePathOrDie("spec")}
	for _, path := range s.kind.REST.StatusResets {
		var names []any
		for name := range strings.SplitSeq(path, ".") {
			names = append(names, name)
		}
		paths = append(paths, fieldpath.MakePathOrDie(names...))
	}
	return s.reset(paths...)
}
