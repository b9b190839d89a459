package apps

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

func validateStatefulSet(set *appsv1.StatefulSet) field.ErrorList {
	s, path := &set.Spec, rule.Spec
	var errs field.ErrorList
	switch s.PodManagementPolicy {
	case "":
		errs = append(errs, field.Required(path.Child("podManagementPolicy"), ""))
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		errs = append(errs, field.Invalid(path.Child("podManagementPolicy"), s.PodManagementPolicy,
			fmt.Sprintf("must be '%s' or '%s'", appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement)))
	}
	errs = append(errs, statefulSetStrategy(&s.UpdateStrategy, path.Child("updateStrategy"))...)
	if policy := s.PersistentVolumeClaimRetentionPolicy; policy != nil {
		at := path.Child("persistentVolumeClaimRetentionPolicy")
		errs = append(errs, retention(policy.WhenDeleted, at.Child("whenDeleted"))...)
		errs = append(errs, retention(policy.WhenScaled, at.Child("whenScaled"))...)
	}
	errs = append(errs, rule.OptionalNonNegative(s.Replicas, path.Child("replicas"))...)
	errs = append(errs, rule.NonNegative(s.MinReadySeconds, path.Child("minReadySeconds"))...)
	if s.Ordinals != nil {
		errs = append(errs, rule.NonNegative(s.Ordinals.Start, path.Child("ordinals.start"))...)
	}
	selectorPath := path.Child("selector")
	if s.Selector == nil {
		errs = append(errs, field.Required(selectorPath, ""))
	} else {
		errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, selectorPath)...)
		if len(s.Selector.MatchLabels)+len(s.Selector.MatchExpressions) == 0 {
			errs = append(errs, field.Invalid(selectorPath, s.Selector, "empty selector is invalid for statefulset"))
		}
	}
	template := path.Child("template")
	selector, err := metav1.LabelSelectorAsSelector(s.Selector)
	if err != nil {
		return append(errs, field.Invalid(selectorPath, s.Selector, ""))
	}
	if !selector.Empty() && !selector.Matches(labels.Set(s.Template.Labels)) {
		errs = append(errs, field.Invalid(template.Child("metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`"))
	}
	return append(errs, podspec.ValidateReplicaTemplate(asMade(s), "StatefulSet", template)...)
}

// validateNewStatefulSet has the rules for what cannot change.
func validateNewStatefulSet(set *appsv1.StatefulSet) field.ErrorList {
	s, path := &set.Spec, rule.Spec
	var errs field.ErrorList
	for i := range s.VolumeClaimTemplates {
		errs = append(errs, rule.ClaimSpec(&s.VolumeClaimTemplates[i].Spec, path.Child("volumeClaimTemplates").Index(i).Child("spec"))...)
	}
	if s.ServiceName != "" {
		errs = append(errs, rule.DNSLabel(s.ServiceName, path.Child("serviceName"))...)
	}
	return errs
}

// asMade is the template as pods are made of it, which get volumes of claims that
// containers mount, and a hostname and a subdomain in place of the template's.
func asMade(s *appsv1.StatefulSetSpec) *corev1.PodTemplateSpec {
	template := s.Template
	template.Spec.Hostname, template.Spec.Subdomain = "", ""
	volumes := slices.Clip(template.Spec.Volumes)
	for i := range s.VolumeClaimTemplates {
		name := s.VolumeClaimTemplates[i].Name
		if slices.ContainsFunc(volumes, func(v corev1.Volume) bool { return v.Name == name }) || len(validation.IsDNS1123Label(name)) > 0 {
			continue
		}
		volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
	template.Spec.Volumes = volumes
	return &template
}

func statefulSetStrategy(s *appsv1.StatefulSetUpdateStrategy, path *field.Path) field.ErrorList {
	rolling := path.Child("rollingUpdate")
	switch s.Type {
	case "":
		return field.ErrorList{field.Required(path, "")}
	case appsv1.OnDeleteStatefulSetStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Invalid(rolling, internalRolling(s.RollingUpdate), fmt.Sprintf("only allowed for updateStrategy '%s'", appsv1.RollingUpdateStatefulSetStrategyType))}
		}
		return nil
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if s.RollingUpdate == nil {
			return nil
		}
		errs := rule.OptionalNonNegative(s.RollingUpdate.Partition, rolling.Child("partition"))
		if most := s.RollingUpdate.MaxUnavailable; most != nil {
			at := rolling.Child("maxUnavailable")
			errs = append(errs, rule.IntOrPercent(*most, at)...)
			if amount(*most) == 0 {
				errs = append(errs, field.Invalid(at, *most, "cannot be 0"))
			}
			errs = append(errs, atMostAll(*most, at)...)
		}
		return errs
	case appsv1.RecreateStatefulSetStrategyType: // behind a gate that is off in Kubernetes
	}
	internal := struct {
		Type          appsv1.StatefulSetUpdateStrategyType
		RollingUpdate *rollingStatefulSet
	}{s.Type, internalRolling(s.RollingUpdate)}
	return field.ErrorList{field.Invalid(path, internal, fmt.Sprintf("must be '%s' or '%s'", appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType))}
}

// rollingStatefulSet has the names of Kubernetes' internal type, which its messages have.
type rollingStatefulSet struct {
	Partition      int32
	MaxUnavailable *intstr.IntOrString
}

func internalRolling(r *appsv1.RollingUpdateStatefulSetStrategy) *rollingStatefulSet {
	if r == nil {
		return nil
	}
	return &rollingStatefulSet{ptr.Deref(r.Partition, 0), r.MaxUnavailable}
}

func retention(policy appsv1.PersistentVolumeClaimRetentionPolicyType, path *field.Path) field.ErrorList {
	return rule.NotSupported(policy, path, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType)
}

func validateStatefulSetUpdate(set, old *appsv1.StatefulSet) field.ErrorList {
	var errs field.ErrorList
	keep := func(value, before any, name string) {
		errs = append(errs, rule.Immutable(value, before, rule.Spec.Child(name))...)
	}
	keep(set.Spec.Selector, old.Spec.Selector, "selector")
	keep(set.Spec.VolumeClaimTemplates, old.Spec.VolumeClaimTemplates, "volumeClaimTemplates")
	keep(set.Spec.ServiceName, old.Spec.ServiceName, "serviceName")
	keep(set.Spec.PodManagementPolicy, old.Spec.PodManagementPolicy, "podManagementPolicy")
	return errs
}

func validateStatefulSetStatus(set, old *appsv1.StatefulSet) field.ErrorList {
	s, path := &set.Status, rule.Status
	counts := []struct {
		name  string
		count int32
	}{{"readyReplicas", s.ReadyReplicas}, {"currentReplicas", s.CurrentReplicas}, {"updatedReplicas", s.UpdatedReplicas}, {"availableReplicas", s.AvailableReplicas}}
	errs := rule.NonNegative(s.Replicas, path.Child("replicas"))
	for _, c := range counts {
		errs = append(errs, rule.NonNegative(c.count, path.Child(c.name))...)
	}
	errs = append(errs, rule.NonNegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
	for _, c := range counts {
		if c.count > s.Replicas {
			errs = append(errs, field.Invalid(path.Child(c.name), c.count, "cannot be greater than status.replicas"))
		}
	}
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(path.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than status.readyReplicas"))
	}
	return append(errs, collisions(s.CollisionCount, old.Status.CollisionCount)...)
}
