package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

// The bounds of jobs whose indexes are tracked one by one.
const (
	maxParallelism     = 100_000
	maxFailed          = 100_000
	manyCompletions    = 100_000
	parallelismOfMany  = 10_000
	maxFailedOfMany    = 10_000
	maxManagedByLength = 63
)

func validateJob(j *batchv1.Job) field.ErrorList {
	errs := validateSelector(&j.Spec, rule.Spec)
	errs = append(errs, validateJobSpec(&j.Spec, rule.Spec)...)
	if indexed(&j.Spec) && ptr.Deref(j.Spec.Completions, 0) > 0 {
		last := fmt.Sprintf("%s-%d", j.Name, *j.Spec.Completions-1)
		if len(validation.IsDNS1123Label(last)) > 0 {
			errs = append(errs, field.Invalid(rule.Metadata.Child("name"), j.Name, "will not able to create pod with invalid DNS label: "+last))
		}
	}
	return errs
}

// generated holds for a job that selects its pods by labels that the server has
// set; prefixed also asks for those with a domain.
func generated(j *batchv1.Job, prefixed bool) field.ErrorList {
	if ptr.Deref(j.Spec.ManualSelector, false) || j.Spec.Selector == nil {
		return nil
	}
	var errs field.ErrorList
	if j.UID == "" {
		errs = append(errs, field.Required(rule.Metadata.Child("uid"), ""))
	}
	names := []string{legacyControllerUID, legacyJobName}
	if prefixed {
		names = append(names, batchv1.ControllerUidLabel, batchv1.JobNameLabel)
	}
	all, expected := generatedLabels(j), labels.Set{}
	template, path := j.Spec.Template.Labels, rule.Spec.Child("template", "metadata", "labels")
	for _, name := range names {
		expected[name] = all[name]
		must := fmt.Sprintf("must be '%s'", all[name])
		if value, found := template[name]; !found {
			errs = append(errs, field.Required(path.Key(name), must))
		} else if value != all[name] {
			errs = append(errs, field.Invalid(path.Key(name), template, must))
		}
	}
	if selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !selector.Matches(expected) {
		errs = append(errs, field.Invalid(rule.Spec.Child("selector"), j.Spec.Selector, "`selector` not auto-generated"))
	}
	return errs
}

func validateSelector(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	if s.Selector == nil {
		return field.ErrorList{field.Required(path.Child("selector"), "")}
	}
	errs := metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, path.Child("selector"))
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !selector.Matches(labels.Set(s.Template.Labels)) {
		errs = append(errs, field.Invalid(path.Child("template", "metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`"))
	}
	return errs
}

// validateJobSpec checks what a job and the template of jobs have in common.
func validateJobSpec(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	errs := rule.OptionalNonNegative(s.Parallelism, path.Child("parallelism"))
	errs = append(errs, rule.OptionalNonNegative(s.Completions, path.Child("completions"))...)
	errs = append(errs, rule.OptionalNonNegative(s.ActiveDeadlineSeconds, path.Child("activeDeadlineSeconds"))...)
	errs = append(errs, rule.OptionalNonNegative(s.BackoffLimit, path.Child("backoffLimit"))...)
	errs = append(errs, rule.OptionalNonNegative(s.TTLSecondsAfterFinished, path.Child("ttlSecondsAfterFinished"))...)
	errs = append(errs, rule.OptionalNonNegative(s.BackoffLimitPerIndex, path.Child("backoffLimitPerIndex"))...)
	errs = append(errs, rule.OptionalNonNegative(s.MaxFailedIndexes, path.Child("maxFailedIndexes"))...)
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Required(path.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
	}
	if s.ManagedBy != nil {
		errs = append(errs, validation.IsDomainPrefixedPath(path.Child("managedBy"), *s.ManagedBy)...)
		if len(*s.ManagedBy) > maxManagedByLength {
			errs = append(errs, field.TooLong(path.Child("managedBy"), *s.ManagedBy, maxManagedByLength))
		}
	}
	if s.CompletionMode != nil {
		errs = append(errs, rule.OneOf(*s.CompletionMode, path.Child("completionMode"), batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)...)
	}
	switch ptr.Deref(s.CompletionMode, batchv1.NonIndexedCompletion) {
	case batchv1.IndexedCompletion:
		errs = append(errs, ofIndexed(s, path)...)
	case batchv1.NonIndexedCompletion:
		errs = append(errs, onlyIndexed(s.BackoffLimitPerIndex, path.Child("backoffLimitPerIndex"))...)
		errs = append(errs, onlyIndexed(s.MaxFailedIndexes, path.Child("maxFailedIndexes"))...)
	}
	if s.PodFailurePolicy != nil {
		errs = append(errs, failurePolicy(s, path.Child("podFailurePolicy"))...)
	}
	switch {
	case s.SuccessPolicy == nil:
	case indexed(s):
		errs = append(errs, successPolicy(s, path.Child("successPolicy"))...)
	default:
		errs = append(errs, onlyIndexed(s.SuccessPolicy, path.Child("successPolicy"))...)
	}
	if policy := s.PodReplacementPolicy; policy != nil {
		allowed := []batchv1.PodReplacementPolicy{batchv1.Failed}
		if s.PodFailurePolicy == nil {
			allowed = append(allowed, batchv1.TerminatingOrFailed)
		}
		errs = append(errs, rule.OneOf(*policy, path.Child("podReplacementPolicy"), allowed...)...)
	}
	errs = append(errs, podspec.ValidateTemplate(&s.Template, path.Child("template"))...)
	return append(errs, restartPolicy(s, path.Child("template", "spec", "restartPolicy"))...)
}

func ofIndexed(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Completions == nil {
		errs = append(errs, field.Required(path.Child("completions"), "when completion mode is Indexed"))
	}
	completions, parallelism := ptr.Deref(s.Completions, 0), ptr.Deref(s.Parallelism, 0)
	if parallelism > maxParallelism {
		errs = append(errs, field.Invalid(path.Child("parallelism"), parallelism, fmt.Sprintf("must be less than or equal to %d when completion mode is Indexed", maxParallelism)))
	}
	failed, failedPath := s.MaxFailedIndexes, path.Child("maxFailedIndexes")
	if failed != nil && s.Completions != nil && *failed > completions {
		errs = append(errs, field.Invalid(failedPath, *failed, "must be less than or equal to completions"))
	}
	if failed != nil && *failed > maxFailed {
		errs = append(errs, field.Invalid(failedPath, *failed, fmt.Sprintf("must be less than or equal to %d", maxFailed)))
	}
	if completions <= manyCompletions || s.BackoffLimitPerIndex == nil {
		return errs
	}
	const of = "must be less than or equal to %d when completions are above %d and used with backoff limit per index"
	if failed == nil {
		errs = append(errs, field.Required(failedPath, fmt.Sprintf("must be specified when completions is above %d", manyCompletions)))
	}
	if parallelism > parallelismOfMany {
		errs = append(errs, field.Invalid(path.Child("parallelism"), parallelism, fmt.Sprintf(of, parallelismOfMany, manyCompletions)))
	}
	if failed != nil && *failed > maxFailedOfMany {
		errs = append(errs, field.Invalid(failedPath, *failed, fmt.Sprintf(of, maxFailedOfMany, manyCompletions)))
	}
	return errs
}

func onlyIndexed[T any](value *T, path *field.Path) field.ErrorList {
	if value == nil {
		return nil
	}
	return field.ErrorList{field.Invalid(path, *value, "requires indexed completion mode")}
}

func restartPolicy(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	switch policy := s.Template.Spec.RestartPolicy; {
	case policy == corev1.RestartPolicyAlways || policy == "":
		return field.ErrorList{field.Required(path, fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever))}
	case policy != corev1.RestartPolicyOnFailure && policy != corev1.RestartPolicyNever:
		return rule.NotSupported(policy, path, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	case s.PodFailurePolicy != nil && policy != corev1.RestartPolicyNever:
		return field.ErrorList{field.Invalid(path, policy, fmt.Sprintf("only %q is supported when podFailurePolicy is specified", corev1.RestartPolicyNever))}
	}
	return nil
}
