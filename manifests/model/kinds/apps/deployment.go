package apps

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

var deployment = kind.Define[appsv1.Deployment, appsv1.DeploymentList](kind.Definition[*appsv1.Deployment]{
	Names: kind.Names{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("Deployment"),
		Plural:           "deployments", Singular: "deployment",
		ShortNames: []string{"deploy"}, Categories: []string{"all"}, Namespaced: true,
	},
	Order:   200,
	Status:  true,
	REST:    kind.REST{StatusResets: []string{"metadata.labels"}},
	Default: defaultDeployment,
	Lifecycle: kind.Lifecycle[*appsv1.Deployment]{
		Create: func(d *appsv1.Deployment) { d.Status = appsv1.DeploymentStatus{} },
		Update: func(d, old *appsv1.Deployment) { d.Status = old.Status },
		UpdateStatus: func(d, old *appsv1.Deployment) {
			d.Spec = old.Spec
			d.Labels = old.Labels
		},
		// Annotations count too: the controller copies them to the replica sets.
		Changed: func(d, old *appsv1.Deployment) bool {
			return kind.Differ(d.Spec, old.Spec) || kind.Differ(d.Annotations, old.Annotations)
		},
	},
	Honours: honour.Types{
		honour.Of[appsv1.Deployment]():              {Honoured: "TypeMeta metadata spec status"},
		honour.Of[appsv1.DeploymentSpec]():          {Honoured: "replicas selector template strategy minReadySeconds revisionHistoryLimit paused progressDeadlineSeconds"},
		honour.Of[appsv1.DeploymentStrategy]():      {Honoured: "type rollingUpdate"},
		honour.Of[appsv1.RollingUpdateDeployment](): {Honoured: "maxUnavailable maxSurge"},
	},
	Rules: kind.Rules[*appsv1.Deployment]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateDeployment,
		Update: validateDeploymentUpdate,
		Status: validateDeploymentStatus,
		Duplicates: func(d *appsv1.Deployment) field.ErrorList {
			return podspec.Duplicates(&d.Spec.Template.Spec, rule.Spec.Child("template", "spec"))
		},
	},
	Warnings: func(d, old *appsv1.Deployment) []string {
		if old == nil {
			return append(podspec.NameWarnings(d.Name), podspec.Warnings(&d.Spec.Template.ObjectMeta, &d.Spec.Template.Spec, rule.Spec.Child("template"))...)
		}
		if d.Generation == old.Generation {
			return nil
		}
		return podspec.Warnings(&d.Spec.Template.ObjectMeta, &d.Spec.Template.Spec, rule.Spec.Child("template"))
	},
	Table: kind.Table[*appsv1.Deployment]{
		Columns: column.Define("Name", "Ready", "#Up-to-date", "#Available", "Age", "+Containers", "+Images", "+Selector"),
		Row:     deploymentRow,
	},
	PodTemplate: func(d *appsv1.Deployment) (*metav1.ObjectMeta, *corev1.PodSpec) {
		return &d.Spec.Template.ObjectMeta, &d.Spec.Template.Spec
	},
	Rollout: deploymentRollout,
	Rolls:   true,
	Scale: func(d *appsv1.Deployment) kind.Scale {
		return kind.Scale{Replicas: &d.Spec.Replicas, Selector: d.Spec.Selector, Current: d.Status.Replicas}
	},
	Health: kind.Health[*appsv1.Deployment]{
		Of: deploymentHealth,
		Pods: func(d *appsv1.Deployment, reader object.Reader, owned func(object.Object) []*corev1.Pod) []*corev1.Pod {
			if set := newestSet(d, reader); set != nil {
				return owned(set)
			}
			return nil
		},
		MinReadySeconds: func(d *appsv1.Deployment) int32 { return d.Spec.MinReadySeconds },
	},
})

func defaultDeployment(d *appsv1.Deployment) {
	fill.Unset(&d.Spec.Replicas, 1)
	fill.Unset(&d.Spec.RevisionHistoryLimit, 10)
	fill.Unset(&d.Spec.ProgressDeadlineSeconds, 600)
	strategy := &d.Spec.Strategy
	fill.Zero(&strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		fill.Unset(&strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		fill.Unset(&strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		fill.Unset(&strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	fill.PodSpec(&d.Spec.Template.Spec)
}

func deploymentRow(d *appsv1.Deployment, now time.Time) []any {
	containers, images := column.Containers(d.Spec.Template.Spec.Containers)
	return []any{
		d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, ptr.Deref(d.Spec.Replicas, 0)),
		int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas), column.Age(d, now),
		containers, images, selectorCell(d.Spec.Selector),
	}
}

// selectorCell prints a deployment's selector as Kubernetes does: one that does not
// parse is shown as such.
func selectorCell(s *metav1.LabelSelector) string {
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return "<invalid>"
	}
	return parsed.String()
}

func validateDeployment(d *appsv1.Deployment) field.ErrorList {
	s := &d.Spec
	errs := rule.OptionalNonNegative(s.Replicas, rule.Spec.Child("replicas"))
	errs = append(errs, selected(s.Selector, &s.Template)...)
	errs = append(errs, deploymentStrategy(&s.Strategy, rule.Spec.Child("strategy"))...)
	errs = append(errs, rule.NonNegative(s.MinReadySeconds, rule.Spec.Child("minReadySeconds"))...)
	errs = append(errs, rule.OptionalNonNegative(s.RevisionHistoryLimit, rule.Spec.Child("revisionHistoryLimit"))...)
	if deadline := s.ProgressDeadlineSeconds; deadline != nil {
		errs = append(errs, rule.NonNegative(*deadline, rule.Spec.Child("progressDeadlineSeconds"))...)
		if *deadline <= s.MinReadySeconds {
			errs = append(errs, field.Invalid(rule.Spec.Child("progressDeadlineSeconds"), *deadline, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

func validateDeploymentUpdate(d, old *appsv1.Deployment) field.ErrorList {
	return rule.Immutable(d.Spec.Selector, old.Spec.Selector, rule.Spec.Child("selector"))
}

func validateDeploymentStatus(d, old *appsv1.Deployment) field.ErrorList {
	s := &d.Status
	errs := rule.NonNegative(s.ObservedGeneration, rule.Status.Child("observedGeneration"))
	errs = append(errs, replicaCounts(s.Replicas, s.ReadyReplicas, s.AvailableReplicas)...)
	errs = append(errs, upToReplicas("updatedReplicas", s.UpdatedReplicas, s.Replicas)...)
	errs = append(errs, rule.NonNegative(s.UnavailableReplicas, rule.Status.Child("unavailableReplicas"))...)
	if was := old.Status.CollisionCount; was != nil {
		if s.CollisionCount == nil || *s.CollisionCount < *was {
			errs = append(errs, field.Invalid(rule.Status.Child("collisionCount"), s.CollisionCount, "cannot be decremented"))
		}
	}
	return errs
}

func deploymentStrategy(s *appsv1.DeploymentStrategy, path *field.Path) field.ErrorList {
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(path.Child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'")}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(path.Child("rollingUpdate"), "this should be defaulted and never be nil")}
		}
		return rollingUpdate(s.RollingUpdate, path.Child("rollingUpdate"))
	}
	return field.ErrorList{field.NotSupported(path.Child("type"), s.Type,
		[]appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType})}
}

func rollingUpdate(r *appsv1.RollingUpdateDeployment, path *field.Path) field.ErrorList {
	unavailable, surge := deref(r.MaxUnavailable), deref(r.MaxSurge)
	at := path.Child("maxUnavailable")
	errs := rule.IntOrPercent(unavailable, at)
	errs = append(errs, rule.IntOrPercent(surge, path.Child("maxSurge"))...)
	if amount(unavailable) == 0 && amount(surge) == 0 {
		errs = append(errs, field.Invalid(at, unavailable, "may not be 0 when `maxSurge` is 0"))
	}
	if unavailable.Type == intstr.String && amount(unavailable) > 100 {
		errs = append(errs, field.Invalid(at, unavailable, "must not be greater than 100%"))
	}
	return errs
}

func deref(v *intstr.IntOrString) intstr.IntOrString {
	if v == nil {
		return intstr.IntOrString{}
	}
	return *v
}

// amount is the number without the per cent sign; 0 if it is none.
func amount(v intstr.IntOrString) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(&v, 100, true)
	if err != nil {
		return 0
	}
	return n
}
