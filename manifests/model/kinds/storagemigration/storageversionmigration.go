package storagemigration

import (
	"strings"
	"time"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
)

type migration = storagemigrationv1.StorageVersionMigration

// storageVersionMigration asks that all objects of a resource are stored in the version
// in which they are stored from now on; engine/controllers/migration does it.
// https://kubernetes.io/docs/tasks/manage-kubernetes-objects/storage-version-migration/
var storageVersionMigration = kind.Define[migration, storagemigrationv1.StorageVersionMigrationList](kind.Definition[*migration]{
	Names: kind.Names{
		GroupVersionKind: storagemigrationv1.SchemeGroupVersion.WithKind("StorageVersionMigration"),
		Plural:           "storageversionmigrations", Singular: "storageversionmigration",
	},
	Order:  kind.Anywhere,
	REST:   kind.REST{VersionRequired: true, StatusResets: []string{"metadata"}},
	Status: true,
	Lifecycle: kind.Lifecycle[*migration]{
		Create: func(m *migration) { m.Status = storagemigrationv1.StorageVersionMigrationStatus{} },
		Update: func(m, old *migration) { m.Status = old.Status },
		UpdateStatus: func(m, old *migration) {
			kind.KeepMeta(&m.ObjectMeta, &old.ObjectMeta)
			m.Spec = old.Spec
		},
	},
	Rules: kind.Rules[*migration]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validate,
		Update: func(m, old *migration) field.ErrorList {
			return apivalidation.ValidateImmutableField(m.Spec, old.Spec, rule.Spec)
		},
		Status: validateStatus,
	},
	Table: kind.Table[*migration]{
		Columns: column.Define("Name", "Resource", "Status"),
		Row: func(m *migration, _ time.Time) []any {
			status := "Unknown"
			for _, c := range m.Status.Conditions {
				switch t := storagemigrationv1.MigrationConditionType(c.Type); t {
				case storagemigrationv1.MigrationRunning, storagemigrationv1.MigrationFailed, storagemigrationv1.MigrationSucceeded:
					if c.Status == metav1.ConditionTrue {
						status = c.Type
					}
				}
			}
			return []any{m.Name, m.Spec.Resource.String(), status}
		},
	},
	Health: kind.Health[*migration]{Of: healthOf},
})

// is reports whether a condition of a migration is true.
func is(m *migration, condition storagemigrationv1.MigrationConditionType) bool {
	return meta.IsStatusConditionTrue(m.Status.Conditions, string(condition))
}

func validate(m *migration) field.ErrorList {
	var errs field.ErrorList
	path, r := rule.Spec.Child("resource"), m.Spec.Resource
	if r.Resource == "" {
		errs = append(errs, field.Required(path.Child("resource"), "resource is required to be set"))
	} else if wrong := utilvalidation.IsDNS1035Label(r.Resource); len(wrong) > 0 {
		errs = append(errs, field.Invalid(path.Child("resource"), r.Resource, strings.Join(wrong, ",")))
	}
	if r.Group != "" {
		if wrong := utilvalidation.IsDNS1123Subdomain(r.Group); len(wrong) > 0 {
			errs = append(errs, field.Invalid(path.Child("group"), r.Group, strings.Join(wrong, ",")))
		}
	}
	return errs
}

func validateStatus(m, old *migration) field.ErrorList {
	path := field.NewPath("status")
	conditions, version := path.Child("conditions"), path.Child("resourceVersion")
	var errs field.ErrorList
	if was := m.Status.ResourceVersion; was != "" {
		if _, err := resourceversion.CompareResourceVersion(was, was); err != nil {
			errs = append(errs, field.Invalid(version, was, err.Error()))
		}
	}
	errs = append(errs, metav1validation.ValidateConditions(m.Status.Conditions, conditions)...)
	if old.Status.ResourceVersion != "" && old.Status.ResourceVersion != m.Status.ResourceVersion {
		errs = append(errs, field.Invalid(version, m.Status.ResourceVersion, "field is immutable"))
	}
	running, succeeded, failed := is(m, storagemigrationv1.MigrationRunning), is(m, storagemigrationv1.MigrationSucceeded), is(m, storagemigrationv1.MigrationFailed)
	for _, wrong := range []struct {
		is  bool
		why string
	}{
		{succeeded && failed, "Both success and failed conditions cannot be true at the same time"},
		{succeeded && running, "Running condition cannot be true when success condition is true"},
		{failed && running, "Running condition cannot be true when failed condition is true"},
		{is(old, storagemigrationv1.MigrationSucceeded) && !succeeded, "Success condition cannot be set to false once it is true"},
		{is(old, storagemigrationv1.MigrationFailed) && !failed, "Failed condition cannot be set to false once it is true"},
	} {
		if wrong.is {
			errs = append(errs, field.Invalid(conditions, m.Status.Conditions, wrong.why))
		}
	}
	return errs
}

// healthOf judges a migration by how it ended.
func healthOf(m *migration, _ object.Reader) health.Result {
	for _, c := range m.Status.Conditions {
		switch {
		case c.Type == string(storagemigrationv1.MigrationFailed) && is(m, storagemigrationv1.MigrationFailed):
			return health.Result{Status: health.Failed, Message: c.Message}
		case c.Type == string(storagemigrationv1.MigrationSucceeded) && is(m, storagemigrationv1.MigrationSucceeded):
			return health.Result{Status: health.Current, Message: "The migration has succeeded"}
		}
	}
	return health.Result{Status: health.InProgress, Message: "The migration has not ended yet"}
}
