package validation

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func deployment(d *appsv1.Deployment) field.ErrorList {
	s := &d.Spec
	errs := optionalNonNegative(s.Replicas, spec.Child("replicas"))
	errs = append(errs, selected(s.Selector, &s.Template)...)
	errs = append(errs, deploymentStrategy(&s.Strategy, spec.Child("strategy"))...)
	errs = append(errs, nonNegative(s.MinReadySeconds, spec.Child("minReadySeconds"))...)
	errs = append(errs, optionalNonNegative(s.RevisionHistoryLimit, spec.Child("revisionHistoryLimit"))...)
	if deadline := s.ProgressDeadlineSeconds; deadline != nil {
		errs = append(errs, nonNegative(*deadline, spec.Child("progressDeadlineSeconds"))...)
		if *deadline <= s.MinReadySeconds {
			errs = append(errs, field.Invalid(spec.Child("progressDeadlineSeconds"), *deadline, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

func deploymentUpdate(d, old *appsv1.Deployment) field.ErrorList {
	return immutable(d.Spec.Selector, old.Spec.Selector, spec.Child("selector"))
}

func replicaSet(rs *appsv1.ReplicaSet) field.ErrorList {
	errs := optionalNonNegative(rs.Spec.Replicas, spec.Child("replicas"))
	errs = append(errs, nonNegative(rs.Spec.MinReadySeconds, spec.Child("minReadySeconds"))...)
	return append(errs, selected(rs.Spec.Selector, &rs.Spec.Template)...)
}

func replicaSetUpdate(rs, old *appsv1.ReplicaSet) field.ErrorList {
	return immutable(rs.Spec.Selector, old.Spec.Selector, spec.Child("selector"))
}

// selected holds for a selector and the template of the pods that it must
// select. The message names a deployment for replica sets too, as the API does.
func selected(selector *metav1.LabelSelector, template *corev1.PodTemplateSpec) field.ErrorList {
	path, templatePath := spec.Child("selector"), spec.Child("template")
	var errs field.ErrorList
	if selector == nil {
		errs = append(errs, field.Required(path, ""))
	} else {
		errs = append(errs, metavalidation.ValidateLabelSelector(selector, metavalidation.LabelSelectorValidationOptions{}, path)...)
		if len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
			errs = append(errs, field.Invalid(path, selector, "empty selector is invalid for deployment"))
		}
	}
	compiled, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return append(errs, field.Invalid(path, selector, "invalid label selector"))
	}
	if selector != nil && !compiled.Empty() && !compiled.Matches(labels.Set(template.Labels)) {
		errs = append(errs, field.Invalid(templatePath.Child("metadata", "labels"), template.Labels, "`selector` does not match template `labels`"))
	}
	return append(errs, podTemplate(template, templatePath)...)
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
	errs := intOrPercent(unavailable, at)
	errs = append(errs, intOrPercent(surge, path.Child("maxSurge"))...)
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

func deploymentStatus(d, old *appsv1.Deployment) field.ErrorList {
	s := &d.Status
	errs := nonNegative(s.ObservedGeneration, status.Child("observedGeneration"))
	errs = append(errs, replicaCounts(s.Replicas, s.ReadyReplicas, s.AvailableReplicas)...)
	errs = append(errs, upToReplicas("updatedReplicas", s.UpdatedReplicas, s.Replicas)...)
	errs = append(errs, nonNegative(s.UnavailableReplicas, status.Child("unavailableReplicas"))...)
	if was := old.Status.CollisionCount; was != nil {
		if s.CollisionCount == nil || *s.CollisionCount < *was {
			errs = append(errs, field.Invalid(status.Child("collisionCount"), s.CollisionCount, "cannot be decremented"))
		}
	}
	return errs
}

func replicaSetStatus(rs, _ *appsv1.ReplicaSet) field.ErrorList {
	s := &rs.Status
	errs := nonNegative(s.ObservedGeneration, status.Child("observedGeneration"))
	errs = append(errs, replicaCounts(s.Replicas, s.ReadyReplicas, s.AvailableReplicas)...)
	return append(errs, upToReplicas("fullyLabeledReplicas", s.FullyLabeledReplicas, s.Replicas)...)
}

func replicaCounts(replicas, ready, available int32) field.ErrorList {
	errs := nonNegative(replicas, status.Child("replicas"))
	errs = append(errs, upToReplicas("readyReplicas", ready, replicas)...)
	errs = append(errs, upToReplicas("availableReplicas", available, replicas)...)
	if available > ready {
		errs = append(errs, field.Invalid(status.Child("availableReplicas"), available, "cannot be greater than readyReplicas"))
	}
	return errs
}

func upToReplicas(name string, count, replicas int32) field.ErrorList {
	errs := nonNegative(count, status.Child(name))
	if count > replicas {
		errs = append(errs, field.Invalid(status.Child(name), count, "cannot be greater than status.replicas"))
	}
	return errs
}
