package apps

import (
	"maps"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

// https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/
var daemonSet = kind.Define[appsv1.DaemonSet, appsv1.DaemonSetList](kind.Definition[*appsv1.DaemonSet]{
	Names: kind.Names{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("DaemonSet"),
		Plural:           "daemonsets", Singular: "daemonset",
		ShortNames: []string{"ds"}, Categories: []string{"all"}, Namespaced: true,
	},
	Order:   205,
	Status:  true,
	Default: defaultDaemonSet,
	Lifecycle: kind.Lifecycle[*appsv1.DaemonSet]{
		Create: func(ds *appsv1.DaemonSet) {
			ds.Status = appsv1.DaemonSetStatus{}
			setTemplateGeneration(ds, max(templateGeneration(ds), 1))
		},
		Update: func(ds, old *appsv1.DaemonSet) {
			ds.Status = old.Status
			n := templateGeneration(old)
			if kind.Differ(ds.Spec.Template, old.Spec.Template) {
				n++
			}
			setTemplateGeneration(ds, n)
		},
		UpdateStatus: func(ds, old *appsv1.DaemonSet) { ds.Spec = old.Spec },
		Changed:      func(ds, old *appsv1.DaemonSet) bool { return kind.Differ(ds.Spec, old.Spec) },
	},
	Honours: honour.Types{
		honour.Of[appsv1.DaemonSet]():               {Honoured: "TypeMeta metadata spec status"},
		honour.Of[appsv1.DaemonSetSpec]():           {Honoured: "selector template updateStrategy minReadySeconds revisionHistoryLimit"},
		honour.Of[appsv1.DaemonSetUpdateStrategy](): {Honoured: "type rollingUpdate"},
		honour.Of[appsv1.RollingUpdateDaemonSet]():  {Honoured: "maxUnavailable maxSurge"},
	},
	Rules: kind.Rules[*appsv1.DaemonSet]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateDaemonSet,
		Update: func(ds, old *appsv1.DaemonSet) field.ErrorList {
			return rule.Immutable(ds.Spec.Selector, old.Spec.Selector, rule.Spec.Child("selector"))
		},
		Status: validateDaemonSetStatus,
		Duplicates: func(ds *appsv1.DaemonSet) field.ErrorList {
			return podspec.Duplicates(&ds.Spec.Template.Spec, rule.Spec.Child("template", "spec"))
		},
	},
	Warnings: func(ds, old *appsv1.DaemonSet) []string {
		if old != nil && ds.Generation == old.Generation {
			return nil
		}
		return podspec.Warnings(&ds.Spec.Template.ObjectMeta, &ds.Spec.Template.Spec, rule.Spec.Child("template"))
	},
	Table: kind.Table[*appsv1.DaemonSet]{
		Columns: column.Define("Name", "#Desired", "#Current", "#Ready", "#Up-to-date", "#Available", "Node Selector", "Age", "+Containers", "+Images", "+Selector"),
		Row:     daemonSetRow,
	},
	PodTemplate: func(ds *appsv1.DaemonSet) (*metav1.ObjectMeta, *corev1.PodSpec) {
		return &ds.Spec.Template.ObjectMeta, &ds.Spec.Template.Spec
	},
	Rollout: daemonSetRollout,
	Rolls:   true,
	Health: kind.Health[*appsv1.DaemonSet]{
		Of: daemonSetHealth,
		Pods: func(ds *appsv1.DaemonSet, _ object.Reader, owned func(object.Object) []*corev1.Pod) []*corev1.Pod {
			return owned(ds)
		},
		MinReadySeconds: func(ds *appsv1.DaemonSet) int32 { return ds.Spec.MinReadySeconds },
	},
})

func defaultDaemonSet(ds *appsv1.DaemonSet) {
	fill.Unset(&ds.Spec.RevisionHistoryLimit, 10)
	strategy := &ds.Spec.UpdateStrategy
	fill.Zero(&strategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if strategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		fill.Unset(&strategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		fill.Unset(&strategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		fill.Unset(&strategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	fill.PodSpec(&ds.Spec.Template.Spec)
}

// templateGeneration counts the templates that a DaemonSet had; it is an annotation
// since it is no field any more.
func templateGeneration(ds *appsv1.DaemonSet) int64 {
	n, err := strconv.ParseInt(ds.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func setTemplateGeneration(ds *appsv1.DaemonSet, n int64) {
	value := strconv.FormatInt(n, 10)
	if ds.Annotations[appsv1.DeprecatedTemplateGeneration] == value {
		return
	}
	annotations := maps.Clone(ds.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[appsv1.DeprecatedTemplateGeneration] = value
	ds.Annotations = annotations
}

func daemonSetRow(ds *appsv1.DaemonSet, now time.Time) []any {
	containers, images := column.Containers(ds.Spec.Template.Spec.Containers)
	s := ds.Status
	return []any{
		ds.Name, int64(s.DesiredNumberScheduled), int64(s.CurrentNumberScheduled), int64(s.NumberReady), int64(s.UpdatedNumberScheduled), int64(s.NumberAvailable),
		labels.FormatLabels(ds.Spec.Template.Spec.NodeSelector), column.Age(ds, now),
		containers, images, metav1.FormatLabelSelector(ds.Spec.Selector),
	}
}

func validateDaemonSet(ds *appsv1.DaemonSet) field.ErrorList {
	s, path, template := &ds.Spec, rule.Spec.Child("selector"), rule.Spec.Child("template")
	var errs field.ErrorList
	if s.Selector == nil {
		errs = append(errs, field.Required(path, ""))
	} else {
		errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, path)...)
	}
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !selector.Matches(labels.Set(s.Template.Labels)) {
		errs = append(errs, field.Invalid(template.Child("metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`"))
	}
	if s.Selector != nil && len(s.Selector.MatchLabels)+len(s.Selector.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path, s.Selector, "empty selector is invalid for daemonset"))
	}
	errs = append(errs, podspec.ValidateReplicaTemplate(&s.Template, "DaemonSet", template)...)
	errs = append(errs, rule.NonNegative(s.MinReadySeconds, rule.Spec.Child("minReadySeconds"))...)
	errs = append(errs, daemonSetStrategy(&s.UpdateStrategy, rule.Spec.Child("updateStrategy"))...)
	return append(errs, rule.OptionalNonNegative(s.RevisionHistoryLimit, rule.Spec.Child("revisionHistoryLimit"))...)
}

func daemonSetStrategy(s *appsv1.DaemonSetUpdateStrategy, path *field.Path) field.ErrorList {
	switch s.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
		return nil
	case appsv1.RollingUpdateDaemonSetStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(path.Child("rollingUpdate"), "")}
		}
		return rollingDaemonSet(s.RollingUpdate, path.Child("rollingUpdate"))
	}
	return field.ErrorList{field.NotSupported(path, internalStrategy(s), []appsv1.DaemonSetUpdateStrategyType{appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType})}
}

// internalStrategy is a strategy with the names of Kubernetes' internal type, which its
// message has.
func internalStrategy(s *appsv1.DaemonSetUpdateStrategy) any {
	type rolling struct{ MaxUnavailable, MaxSurge intstr.IntOrString }
	internal := struct {
		Type          appsv1.DaemonSetUpdateStrategyType
		RollingUpdate *rolling
	}{Type: s.Type}
	if r := s.RollingUpdate; r != nil {
		internal.RollingUpdate = &rolling{deref(r.MaxUnavailable), deref(r.MaxSurge)}
	}
	return internal
}

func rollingDaemonSet(r *appsv1.RollingUpdateDaemonSet, path *field.Path) field.ErrorList {
	unavailable, surge := deref(r.MaxUnavailable), deref(r.MaxSurge)
	errs := rule.IntOrPercent(unavailable, path.Child("maxUnavailable"))
	errs = append(errs, rule.IntOrPercent(surge, path.Child("maxSurge"))...)
	errs = append(errs, atMostAll(unavailable, path.Child("maxUnavailable"))...)
	errs = append(errs, atMostAll(surge, path.Child("maxSurge"))...)
	switch {
	case amount(unavailable) != 0 && amount(surge) != 0:
		errs = append(errs, field.Invalid(path.Child("maxSurge"), surge, "may not be set when maxUnavailable is non-zero"))
	case amount(unavailable) == 0 && amount(surge) == 0:
		errs = append(errs, field.Required(path.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	}
	return errs
}

// atMostAll holds for a share of pods.
func atMostAll(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if v.Type == intstr.String && amount(v) > 100 {
		return field.ErrorList{field.Invalid(path, v, "must not be greater than 100%")}
	}
	return nil
}

func validateDaemonSetStatus(ds, old *appsv1.DaemonSet) field.ErrorList {
	s := &ds.Status
	var errs field.ErrorList
	for _, c := range []struct {
		name  string
		count int32
	}{
		{"currentNumberScheduled", s.CurrentNumberScheduled},
		{"numberMisscheduled", s.NumberMisscheduled},
		{"desiredNumberScheduled", s.DesiredNumberScheduled},
		{"numberReady", s.NumberReady},
	} {
		errs = append(errs, rule.NonNegative(c.count, rule.Status.Child(c.name))...)
	}
	errs = append(errs, rule.NonNegative(s.ObservedGeneration, rule.Status.Child("observedGeneration"))...)
	errs = append(errs, rule.NonNegative(s.UpdatedNumberScheduled, rule.Status.Child("updatedNumberScheduled"))...)
	errs = append(errs, rule.NonNegative(s.NumberAvailable, rule.Status.Child("numberAvailable"))...)
	errs = append(errs, rule.NonNegative(s.NumberUnavailable, rule.Status.Child("numberUnavailable"))...)
	return append(errs, collisions(s.CollisionCount, old.Status.CollisionCount)...)
}
