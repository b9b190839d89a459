package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/podspec"
)

var templatePath = field.NewPath("template")

// podTemplate is kept for programs that create pods from it. No controller does,
// so there are no pods of it to judge.
var podTemplate = kind.Define[corev1.PodTemplate, corev1.PodTemplateList](kind.Definition[*corev1.PodTemplate]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("PodTemplate"),
		Plural:           "podtemplates", Singular: "podtemplate",
		Namespaced: true,
	},
	Order:   kind.Anywhere,
	REST:    kind.REST{ReturnsDeleted: true},
	Default: func(t *corev1.PodTemplate) { fill.PodSpec(&t.Template.Spec) },
	Lifecycle: kind.Lifecycle[*corev1.PodTemplate]{
		Changed: func(t, old *corev1.PodTemplate) bool { return kind.Differ(t.Template, old.Template) },
	},
	Honours: honour.Types{
		honour.Of[corev1.PodTemplate](): {Honoured: "TypeMeta metadata template"},
	},
	Rules: kind.Rules[*corev1.PodTemplate]{
		Name: apivalidation.NameIsDNSSubdomain,
		Object: func(t *corev1.PodTemplate) field.ErrorList {
			return podspec.ValidateTemplate(&t.Template, templatePath)
		},
		Duplicates: func(t *corev1.PodTemplate) field.ErrorList {
			return podspec.Duplicates(&t.Template.Spec, templatePath.Child("spec"))
		},
	},
	Warnings: func(t, old *corev1.PodTemplate) []string {
		if old != nil && t.Generation == old.Generation {
			return nil
		}
		return podspec.Warnings(&t.Template.ObjectMeta, &t.Template.Spec, templatePath)
	},
	Table: kind.Table[*corev1.PodTemplate]{
		Columns: column.Define("Name", "Containers", "Images", "Pod Labels"),
		Row: func(t *corev1.PodTemplate, _ time.Time) []any {
			containers, images := column.Containers(t.Template.Spec.Containers)
			return []any{t.Name, containers, images, labels.FormatLabels(t.Template.Labels)}
		},
	},
})
