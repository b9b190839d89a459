package apps

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

// controllerRevision is a state that a DaemonSet or a StatefulSet had, or whatever else
// its controller keeps in it.
// https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/controller-revision-v1/
var controllerRevision = kind.Define[appsv1.ControllerRevision, appsv1.ControllerRevisionList](kind.Definition[*appsv1.ControllerRevision]{
	Names: kind.Names{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("ControllerRevision"),
		Plural:           "controllerrevisions", Singular: "controllerrevision", Namespaced: true,
	},
	Order: kind.Anywhere,
	Rules: kind.Rules[*appsv1.ControllerRevision]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateRevision,
		Update: func(r, old *appsv1.ControllerRevision) field.ErrorList {
			return rule.Immutable(r.Data, old.Data, field.NewPath("data"))
		},
	},
	Table: kind.Table[*appsv1.ControllerRevision]{
		Columns: column.Define("Name", "Controller", "Revision", "Age"),
		Row: func(r *appsv1.ControllerRevision, now time.Time) []any {
			return []any{r.Name, controllerCell(r), r.Revision, column.Age(r, now)}
		},
	},
})

func validateRevision(r *appsv1.ControllerRevision) field.ErrorList {
	var errs field.ErrorList
	if r.Data.Raw == nil && r.Data.Object == nil {
		errs = append(errs, field.Required(field.NewPath("data"), "data is mandatory"))
	}
	return append(errs, rule.NonNegative(r.Revision, field.NewPath("revision"))...)
}

func controllerCell(r *appsv1.ControllerRevision) string {
	ref := metav1.GetControllerOfNoCopy(r)
	if ref == nil {
		return column.None
	}
	gk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
	return strings.ToLower(gk.String()) + "/" + ref.Name
}
