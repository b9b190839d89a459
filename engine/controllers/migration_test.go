package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/controllers"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// unconverted is a webhook that is not there.
type unconverted struct{}

// Convert implements custom.Converter.
func (unconverted) Convert(_ context.Context, _ *apiextensionsv1.CustomResourceDefinition, _ *unstructured.Unstructured, _ schema.GroupVersion) (*unstructured.Unstructured, error) {
	return nil, errors.New("nobody converts")
}

// A StorageVersionMigration stores all objects of a resource in the version of today,
// without another change of them; then its definition has that version alone. If one
// cannot be converted, or nobody knows the resource, it fails with the reason.
func TestStorageVersionMigration(t *testing.T) {
	const objects = 200
	c := start(t, 0, func(cfg *controllers.Config) { cfg.Convert = unconverted{} })
	versions := func(stored string) (list []apiextensionsv1.CustomResourceDefinitionVersion) {
		for _, name := range []string{"v1", "v2"} {
			list = append(list, apiextensionsv1.CustomResourceDefinitionVersion{Name: name, Served: true, Storage: name == stored})
		}
		return list
	}
	define := func(plural, kind string) object.Key {
		crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: plural + ".example.com"}}
		crd.Spec.Group, crd.Spec.Scope, crd.Spec.Versions = "example.com", apiextensionsv1.NamespaceScoped, versions("v1")
		crd.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Kind: kind}
		c.commit(change.Create(crd, time.Now()))
		key := object.Key{GroupKind: apiextensionsv1.Kind("CustomResourceDefinition"), Name: crd.Name}
		c.commit(change.PatchStatus(key, func(obj object.Object) bool {
			obj.(*apiextensionsv1.CustomResourceDefinition).Status.AcceptedNames = crd.Spec.Names
			return true
		}))
		return key
	}
	widgets, gadgets := define("widgets", "Widget"), define("gadgets", "Gadget")
	create := func(version, kind, name string) object.Key {
		u := &unstructured.Unstructured{}
		u.SetAPIVersion("example.com/" + version)
		u.SetKind(kind)
		u.SetNamespace("default")
		u.SetName(name)
		c.commit(change.Create(u, time.Now()))
		return object.KeyOf(schema.GroupKind{Group: "example.com", Kind: kind}, u)
	}
	var keys []object.Key
	for i := range objects {
		keys = append(keys, create("v1", "Widget", fmt.Sprintf("w%d", i)))
	}
	gadget := create("v1", "Gadget", "g")
	for key, strategy := range map[object.Key]apiextensionsv1.ConversionStrategyType{widgets: apiextensionsv1.NoneConverter, gadgets: apiextensionsv1.WebhookConverter} {
		c.commit(change.Patch(key, func(obj object.Object) bool {
			spec := &obj.(*apiextensionsv1.CustomResourceDefinition).Spec
			spec.Versions, spec.Conversion = versions("v2"), &apiextensionsv1.CustomResourceConversion{Strategy: strategy}
			return true
		}))
	}
	already := create("v2", "Widget", "new")
	before := c.store.Get(already).GetResourceVersion()
	stored := func(key object.Key) []string {
		return c.store.Get(key).(*apiextensionsv1.CustomResourceDefinition).Status.StoredVersions
	}
	if got := stored(widgets); !slices.Equal(got, []string{"v1", "v2"}) {
		t.Fatalf("storedVersions are %q before the migration", got)
	}

	migrate := func(name, group, resource string) object.Key {
		m := &storagemigrationv1.StorageVersionMigration{ObjectMeta: metav1.ObjectMeta{Name: name}}
		m.Spec.Resource = metav1.GroupResource{Group: group, Resource: resource}
		c.commit(change.Create(m, time.Now().Add(-2*time.Minute)))
		return object.KeyOf(storagemigrationv1.SchemeGroupVersion.WithKind("StorageVersionMigration").GroupKind(), m)
	}
	for _, tc := range []struct{ name, group, resource, condition, message string }{
		{"widgets", "example.com", "widgets", "Succeeded", ""},
		{"widgets-again", "example.com", "widgets", "Succeeded", ""},
		{"secrets", "", "secrets", "Succeeded", ""},
		{"gadgets", "example.com", "gadgets", "Failed", "migration encountered unhandled error: default/g: nobody converts"},
		{"nothing", "example.com", "nothings", "Failed", "resource not found"},
	} {
		key := migrate(tc.name, tc.group, tc.resource)
		c.eventually("the migration "+tc.name+" ends", func() bool {
			m := c.store.Get(key).(*storagemigrationv1.StorageVersionMigration)
			return len(m.Status.Conditions) == 1 && m.Status.Conditions[0].Type != string(storagemigrationv1.MigrationRunning)
		})
		m := c.store.Get(key).(*storagemigrationv1.StorageVersionMigration)
		if got := meta.FindStatusCondition(m.Status.Conditions, tc.condition); got == nil || got.Status != metav1.ConditionTrue || got.Message != tc.message || got.Reason != "StorageVersionMigration"+tc.condition {
			t.Errorf("%s: %+v, want %s %q", tc.name, m.Status.Conditions, tc.condition, tc.message)
		}
	}
	for _, key := range keys {
		if u := c.store.Get(key).(*unstructured.Unstructured); u.GetAPIVersion() != "example.com/v2" || u.GetGeneration() > 1 {
			t.Errorf("%s is stored as %s, generation %d", key.Name, u.GetAPIVersion(), u.GetGeneration())
		}
	}
	if now := c.store.Get(already).GetResourceVersion(); now != before {
		t.Errorf("what was stored in v2 went from %s to %s", before, now)
	}
	if got := c.store.Get(gadget).(*unstructured.Unstructured).GetAPIVersion(); got != "example.com/v1" {
		t.Errorf("the gadget is stored as %s", got)
	}
	for key, want := range map[object.Key]struct {
		stored []string
		reason string
	}{
		widgets: {[]string{"v2"}, "MigrationSucceeded"},
		gadgets: {[]string{"v1", "v2"}, "MigrationFailed"},
	} {
		crd := c.store.Get(key).(*apiextensionsv1.CustomResourceDefinition)
		told := apihelpers.FindCRDCondition(crd, apiextensionsv1.StorageMigrating)
		if !slices.Equal(crd.Status.StoredVersions, want.stored) || told == nil || told.Status != apiextensionsv1.ConditionFalse || told.Reason != want.reason || told.ObservedGeneration != crd.Generation {
			t.Errorf("%s: storedVersions %q, %+v; want %q, %s", key.Name, crd.Status.StoredVersions, told, want.stored, want.reason)
		}
	}
}
