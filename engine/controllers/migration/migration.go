// Package migration stores the objects of a resource anew in the version in which they
// are stored from now on, if a StorageVersionMigration asks for it: the one at a time
// of each resource that has waited longest. Objects of Headway's own kinds have one
// version; a definition whose objects were migrated need not have the others any more.
//
//	StorageVersionMigration ─▶ begin ─▶ rewrite, until nothing is left ─▶ end
//	                             │ Running, resourceVersion                │ Succeeded or Failed
//	CustomResourceDefinition   StorageMigrating                          storedVersions
package migration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

var migrations = storagemigrationv1.SchemeGroupVersion.WithKind("StorageVersionMigration").GroupKind()

const (
	// grace is for how long a resource may be unknown that a migration is about.
	grace = time.Minute
	// atOnce is how many objects are written together, and mostRounds how often what
	// was written meanwhile is looked through.
	atOnce, mostRounds = 64, 100
)

type controller struct {
	control.Env
	convert custom.Converter
}

// New makes the controller. convert asks the webhooks of definitions; it may be nil.
func New(env control.Env, convert custom.Converter) control.Controller {
	c := &controller{env, convert}
	return control.Controller{
		Name: "storage-version-migrator-controller", Workers: 5,
		Keys: func(ev object.Event, add func(object.Key)) {
			if m, ok := ev.Object.(*storagemigrationv1.StorageVersionMigration); ok {
				add(object.Key{GroupKind: migrations, Name: resourceOf(m).String()})
			}
		},
		Reconcile: c.reconcile,
	}
}

func resourceOf(m *storagemigrationv1.StorageVersionMigration) schema.GroupResource {
	return schema.GroupResource{Group: m.Spec.Resource.Group, Resource: m.Spec.Resource.Resource}
}

func is(m *storagemigrationv1.StorageVersionMigration, condition storagemigrationv1.MigrationConditionType) bool {
	return meta.IsStatusConditionTrue(m.Status.Conditions, string(condition))
}

// next returns the migration of a resource that is running or, if none is, the oldest
// one that waits; nil if none does.
func next(all []object.Object, resource string) *storagemigrationv1.StorageVersionMigration {
	var waiting []*storagemigrationv1.StorageVersionMigration
	for _, obj := range all {
		m, ok := obj.(*storagemigrationv1.StorageVersionMigration)
		if ok && resourceOf(m).String() == resource && !is(m, storagemigrationv1.MigrationSucceeded) && !is(m, storagemigrationv1.MigrationFailed) {
			waiting = append(waiting, m)
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	return slices.MinFunc(waiting, func(a, b *storagemigrationv1.StorageVersionMigration) int {
		if ar, br := is(a, storagemigrationv1.MigrationRunning), is(b, storagemigrationv1.MigrationRunning); ar != br {
			if ar {
				return -1
			}
			return 1
		}
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
}

// reconcile carries out the next migration of the resource that key names.
func (c *controller) reconcile(ctx context.Context, key object.Key) (time.Duration, error) {
	all, _ := c.Store.List(migrations, "")
	m := next(all, key.Name)
	if m == nil {
		return 0, nil
	}
	k, ok := c.Kinds.ForResource(resourceOf(m))
	if !ok {
		if left := m.CreationTimestamp.Add(grace).Sub(c.Now()); left > 0 {
			return left, nil // its definition may just have come
		}
		return 0, c.end(ctx, m, nil, errors.New("resource not found"))
	}
	if err := c.begin(ctx, m, k); err != nil {
		return 0, err
	}
	err := c.migrate(ctx, k)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		c.Log.Warn("objects are not stored in the version of today", "migration", m.Name, "resource", key.Name, "err", err)
		err = fmt.Errorf("migration encountered unhandled error: %w", err)
	}
	return 0, c.end(ctx, m, k, err)
}

// begin tells that a migration runs.
func (c *controller) begin(ctx context.Context, m *storagemigrationv1.StorageVersionMigration, k *kind.Kind) error {
	if is(m, storagemigrationv1.MigrationRunning) && m.Status.ResourceVersion != "" {
		return nil
	}
	now, revision := metav1.NewTime(c.Now()), strconv.FormatUint(c.Store.Revision(), 10)
	changes := []change.Change{control.Present(change.PatchStatus(object.KeyOf(migrations, m), func(obj object.Object) bool {
		m, ok := obj.(*storagemigrationv1.StorageVersionMigration)
		if !ok {
			return false
		}
		m.Status.ResourceVersion = cmp.Or(m.Status.ResourceVersion, revision)
		return meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{
			Type: string(storagemigrationv1.MigrationRunning), Status: metav1.ConditionTrue, LastTransitionTime: now,
			Reason: "MigrationRunning", Message: "The migration is running",
		})
	}))}
	if k.Custom != nil {
		changes = append(changes, c.ofDefinition(k, func(crd *apiextensionsv1.CustomResourceDefinition) apiextensionsv1.CustomResourceDefinitionCondition {
			return apiextensionsv1.CustomResourceDefinitionCondition{
				Status: apiextensionsv1.ConditionTrue, Reason: "MigrationRunning", Message: fmt.Sprintf("Migration %s is running", m.Name),
			}
		}))
	}
	if _, err := c.Commit(ctx, change.Tx{Changes: changes}); err != nil {
		return fmt.Errorf("begin the migration %s: %w", m.Name, err)
	}
	return nil
}

// ofDefinition sets the condition StorageMigrating of a kind's definition.
func (c *controller) ofDefinition(k *kind.Kind, condition func(*apiextensionsv1.CustomResourceDefinition) apiextensionsv1.CustomResourceDefinitionCondition) change.Change {
	key := object.Key{GroupKind: scheme.Definition, Name: k.Custom.Name()}
	return control.Present(change.PatchStatus(key, func(obj object.Object) bool {
		crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			return false
		}
		next := condition(crd)
		next.Type, next.LastTransitionTime, next.ObservedGeneration = apiextensionsv1.StorageMigrating, metav1.NewTime(c.Now()), crd.Generation
		apihelpers.SetCRDCondition(crd, next)
		return true
	}))
}

// migrate stores what is in another version anew, until there is nothing left.
func (c *controller) migrate(ctx context.Context, k *kind.Kind) error {
	if k.Custom == nil {
		return nil
	}
	version, ok := k.Custom.Version(k.Version)
	if !ok {
		return fmt.Errorf("the definition has no version %s", k.Version)
	}
	for range mostRounds {
		list, _ := c.Store.List(k.GroupKind(), "")
		list = slices.DeleteFunc(slices.Clone(list), func(obj object.Object) bool {
			return obj.GetObjectKind().GroupVersionKind().Version == k.Version
		})
		if len(list) == 0 {
			return nil
		}
		for chunk := range slices.Chunk(list, atOnce) {
			if err := c.rewrite(ctx, k, version, chunk); err != nil {
				return err
			}
		}
	}
	return errors.New("objects are still being stored in another version")
}

// rewrite stores objects anew. Those that have changed meanwhile are left alone.
func (c *controller) rewrite(ctx context.Context, k *kind.Kind, version *custom.Version, list []object.Object) error {
	var changes []change.Change
	for _, obj := range list {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("unexpected %T", obj)
		}
		out, err := k.Custom.Convert(ctx, u, k.GroupVersion(), c.convert)
		if err == nil {
			err = version.Complete(out)
		}
		if err != nil {
			return fmt.Errorf("%s/%s: %w", u.GetNamespace(), u.GetName(), err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		changes = append(changes, change.Change{Key: object.KeyOf(k.GroupKind(), u), Mutate: func(current object.Object) (object.Object, error) {
			if current == nil || current.GetResourceVersion() != u.GetResourceVersion() {
				return current, nil
			}
			return out, nil
		}})
	}
	for i, err := range c.CommitEach(ctx, changes) {
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s: %w", changes[i].Key, err)
		}
	}
	return nil
}

// end tells how a migration ended, and that a definition whose objects were migrated
// has objects in one version alone, unless it has changed since the beginning.
func (c *controller) end(ctx context.Context, m *storagemigrationv1.StorageVersionMigration, k *kind.Kind, failure error) error {
	condition := metav1.Condition{
		Type: string(storagemigrationv1.MigrationSucceeded), Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(c.Now()), Reason: "StorageVersionMigrationSucceeded",
	}
	if failure != nil {
		condition.Type, condition.Reason, condition.Message = string(storagemigrationv1.MigrationFailed), "StorageVersionMigrationFailed", failure.Error()
	}
	changes := []change.Change{control.Present(change.PatchStatus(object.KeyOf(migrations, m), func(obj object.Object) bool {
		m, ok := obj.(*storagemigrationv1.StorageVersionMigration)
		if !ok {
			return false
		}
		meta.RemoveStatusCondition(&m.Status.Conditions, string(storagemigrationv1.MigrationRunning))
		return meta.SetStatusCondition(&m.Status.Conditions, condition)
	}))}
	if k != nil && k.Custom != nil {
		changes = append(changes, c.ofDefinition(k, func(crd *apiextensionsv1.CustomResourceDefinition) apiextensionsv1.CustomResourceDefinitionCondition {
			told := apiextensionsv1.CustomResourceDefinitionCondition{Status: apiextensionsv1.ConditionFalse, Reason: "MigrationFailed", Message: "The migration has failed"}
			if failure != nil {
				return told
			}
			told.Reason, told.Message = "MigrationSucceeded", "The migration has succeeded but the stored versions have not been updated due to a generation mismatch"
			began := apihelpers.FindCRDCondition(crd, apiextensionsv1.StorageMigrating)
			if began != nil && began.ObservedGeneration == crd.Generation && k.Custom.Same(crd) {
				crd.Status.StoredVersions = []string{k.Version}
				told.Message = "The migration has succeeded and the stored versions have been updated"
			}
			return told
		}))
	}
	if _, err := c.Commit(ctx, change.Tx{Changes: changes}); err != nil {
		return fmt.Errorf("end the migration %s: %w", m.Name, err)
	}
	return nil
}
