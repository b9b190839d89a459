package apps

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

// selected holds for a selector and the template of the pods that it must
// select. The message names a deployment for replica sets too, as the API does.
func selected(selector *metav1.LabelSelector, template *corev1.PodTemplateSpec) field.ErrorList {
	path, templatePath := rule.Spec.Child("selector"), rule.Spec.Child("template")
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
	return append(errs, podspec.ValidateReplicaTemplate(template, "ReplicaSet", templatePath)...)
}

func replicaCounts(replicas, ready, available int32) field.ErrorList {
	errs := rule.NonNegative(replicas, rule.Status.Child("replicas"))
	errs = append(errs, upToReplicas("readyReplicas", ready, replicas)...)
	errs = append(errs, upToReplicas("availableReplicas", available, replicas)...)
	if available > ready {
		errs = append(errs, field.Invalid(rule.Status.Child("availableReplicas"), available, "cannot be greater than readyReplicas"))
	}
	return errs
}

func upToReplicas(name string, count, replicas int32) field.ErrorList {
	errs := rule.NonNegative(count, rule.Status.Child(name))
	if count > replicas {
		errs = append(errs, field.Invalid(rule.Status.Child(name), count, "cannot be greater than status.replicas"))
	}
	return errs
}

// collisions holds for a count of names that were taken, which only rises.
func collisions(count, was *int32) field.ErrorList {
	path := rule.Status.Child("collisionCount")
	errs := rule.OptionalNonNegative(count, path)
	if was != nil && ptr.Deref(count, *was-1) < *was {
		errs = append(errs, field.Invalid(path, ptr.Deref(count, 0), "cannot be decremented"))
	}
	return errs
}
