package apiextensions

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

var customResourceDefinition = kind.Define[apiextensionsv1.CustomResourceDefinition, apiextensionsv1.CustomResourceDefinitionList](kind.Definition[*apiextensionsv1.CustomResourceDefinition]{
	Names: kind.Names{
		GroupVersionKind: apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"),
		Plural:           "customresourcedefinitions", Singular: "customresourcedefinition",
		ShortNames: []string{"crd", "crds"}, Categories: []string{"api-extensions"},
	},
	Status:  true,
	REST:    kind.REST{VersionRequired: true},
	Order:   40,
	Default: apiextensionsv1.SetObjectDefaults_CustomResourceDefinition,
	Lifecycle: kind.Lifecycle[*apiextensionsv1.CustomResourceDefinition]{
		Create: func(crd *apiextensionsv1.CustomResourceDefinition) {
			crd.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
			addStoredVersion(crd)
		},
		Update: func(crd, old *apiextensionsv1.CustomResourceDefinition) {
			crd.Status = *old.Status.DeepCopy()
			addStoredVersion(crd)
		},
		// A status update keeps the metadata that it brings, as in Kubernetes:
		// that is how the finalizer of the instances is removed.
		UpdateStatus: func(crd, old *apiextensionsv1.CustomResourceDefinition) { crd.Spec = old.Spec },
		Changed: func(crd, old *apiextensionsv1.CustomResourceDefinition) bool {
			return kind.Differ(crd.Spec, old.Spec)
		},
		MarkDeleted: markDeleted,
	},
	Rules: kind.Rules[*apiextensionsv1.CustomResourceDefinition]{
		Name:         func(string, bool) []string { return nil }, // validate knows it
		AnyFinalizer: true,
		Object:       validate,
		Replaces:     validateUpdate,
		Status:       validateStatusUpdate,
	},
	Warnings: warnings,
	Table: kind.Table[*apiextensionsv1.CustomResourceDefinition]{
		Columns: append(column.Define("Name"), metav1.TableColumnDefinition{
			Name: "Created At", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"],
		}),
		Row: func(crd *apiextensionsv1.CustomResourceDefinition, _ time.Time) []any {
			return []any{crd.Name, crd.CreationTimestamp.UTC().Format(time.RFC3339)}
		},
	},
	Health: kind.Health[*apiextensionsv1.CustomResourceDefinition]{Of: healthOf},
	Share:  share,
	Copy:   custom.Copy,
	Pack:   func(crd *apiextensionsv1.CustomResourceDefinition) object.Packed { return custom.Pack(crd) },
})

// share has the states of a definition, of which some are kept for watchers, have their
// schemas, annotations and managed fields in memory once: most differ in their status.
func share(crd, old *apiextensionsv1.CustomResourceDefinition) {
	if equality.Semantic.DeepEqual(crd.Spec, old.Spec) {
		crd.Spec = old.Spec
	}
	if maps.Equal(crd.Annotations, old.Annotations) {
		crd.Annotations = old.Annotations
	}
	for i := range crd.ManagedFields {
		is := &crd.ManagedFields[i]
		for _, was := range old.ManagedFields {
			if is.Manager == was.Manager && is.Subresource == was.Subresource && equality.Semantic.DeepEqual(is.FieldsV1, was.FieldsV1) {
				is.FieldsV1 = was.FieldsV1
			}
		}
	}
}

// addStoredVersion notes that there may be objects in the version in which they
// are stored from now on.
func addStoredVersion(crd *apiextensionsv1.CustomResourceDefinition) {
	for _, v := range crd.Spec.Versions {
		if v.Storage && !slices.Contains(crd.Status.StoredVersions, v.Name) {
			crd.Status.StoredVersions = append(crd.Status.StoredVersions, v.Name)
		}
	}
}

// markDeleted holds a definition until its instances are deleted.
func markDeleted(crd *apiextensionsv1.CustomResourceDefinition) {
	if !apihelpers.CRDHasFinalizer(crd, apiextensionsv1.CustomResourceCleanupFinalizer) {
		crd.Finalizers = append(slices.Clone(crd.Finalizers), apiextensionsv1.CustomResourceCleanupFinalizer)
	}
	apihelpers.SetCRDCondition(crd, apiextensionsv1.CustomResourceDefinitionCondition{
		Type:    apiextensionsv1.Terminating,
		Status:  apiextensionsv1.ConditionTrue,
		Reason:  "InstanceDeletionPending",
		Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	})
}

// healthOf judges in the words of kstatus.
func healthOf(crd *apiextensionsv1.CustomResourceDefinition, _ object.Reader) health.Result {
	for _, c := range crd.Status.Conditions {
		switch {
		case c.Type == apiextensionsv1.NamesAccepted && c.Status == apiextensionsv1.ConditionFalse,
			c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionFalse && c.Reason != "Installing":
			return health.Result{Status: health.Failed, Message: c.Message}
		case c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue:
			return health.Result{Status: health.Current, Message: "CRD is established"}
		}
	}
	return health.Result{Status: health.InProgress, Message: "Install in progress"}
}
