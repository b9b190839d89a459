package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

func validateJobUpdate(j, old *batchv1.Job) field.ErrorList {
	s, was := &j.Spec, &old.Spec
	_, named := was.Template.Labels[batchv1.JobNameLabel]
	_, owned := was.Template.Labels[batchv1.ControllerUidLabel]
	errs := generated(j, named && owned)
	errs = append(errs, completionsUpdate(s, was)...)
	errs = append(errs, rule.Immutable(s.Selector, was.Selector, rule.Spec.Child("selector"))...)
	errs = append(errs, templateUpdate(s, old)...)
	errs = append(errs, rule.Immutable(s.CompletionMode, was.CompletionMode, rule.Spec.Child("completionMode"))...)
	errs = append(errs, rule.Immutable(s.PodFailurePolicy, was.PodFailurePolicy, rule.Spec.Child("podFailurePolicy"))...)
	errs = append(errs, rule.Immutable(s.BackoffLimitPerIndex, was.BackoffLimitPerIndex, rule.Spec.Child("backoffLimitPerIndex"))...)
	errs = append(errs, rule.Immutable(s.ManagedBy, was.ManagedBy, rule.Spec.Child("managedBy"))...)
	return append(errs, rule.Immutable(s.SuccessPolicy, was.SuccessPolicy, rule.Spec.Child("successPolicy"))...)
}

// completionsUpdate lets an indexed job change its size, with as many pods at once.
func completionsUpdate(s, was *batchv1.JobSpec) field.ErrorList {
	path := rule.Spec.Child("completions")
	if !indexed(s) {
		return rule.Immutable(s.Completions, was.Completions, path)
	}
	if s.Completions == nil || s.Parallelism == nil || ptr.Equal(s.Completions, was.Completions) || *s.Completions == *s.Parallelism {
		return nil
	}
	return field.ErrorList{field.Invalid(path, *s.Completions, "can only be modified in tandem with spec.parallelism")}
}

// templateUpdate lets the pods' resources, and where they may run, change while the
// job is suspended and has no pods.
func templateUpdate(s *batchv1.JobSpec, old *batchv1.Job) field.ErrorList {
	was := &old.Spec.Template
	if ptr.Deref(old.Spec.Suspend, false) && (old.Status.StartTime == nil || is(old, batchv1.JobSuspended)) && old.Status.Active == 0 {
		was = was.DeepCopy()
		placed(was, &s.Template)
		sized(was.Spec.Containers, s.Template.Spec.Containers)
		sized(was.Spec.InitContainers, s.Template.Spec.InitContainers)
	}
	return rule.Immutable(&s.Template, was, rule.Spec.Child("template"))
}

func placed(was, t *corev1.PodTemplateSpec) {
	switch now := t.Spec.Affinity; {
	case now == nil && was.Spec.Affinity != nil:
		was.Spec.Affinity.NodeAffinity = nil
		if *was.Spec.Affinity == (corev1.Affinity{}) {
			was.Spec.Affinity = nil
		}
	case now != nil && was.Spec.Affinity == nil:
		was.Spec.Affinity = &corev1.Affinity{NodeAffinity: now.NodeAffinity}
	case now != nil:
		was.Spec.Affinity.NodeAffinity = now.NodeAffinity
	}
	was.Spec.NodeSelector, was.Spec.Tolerations, was.Spec.SchedulingGates = t.Spec.NodeSelector, t.Spec.Tolerations, t.Spec.SchedulingGates
	was.Annotations, was.Labels = t.Annotations, t.Labels
}

func sized(was, containers []corev1.Container) {
	for i := range was {
		if i < len(containers) && was[i].Name == containers[i].Name {
			was[i].Resources = containers[i].Resources
		}
	}
}

// validateJobStatus checks the state, and of the transitions only what changes: the
// status may be behind a spec that was just edited.
func validateJobStatus(j, old *batchv1.Job) field.ErrorList {
	errs := counts(&j.Status)
	errs = append(errs, conditionsStatus(j, old)...)
	errs = append(errs, timesStatus(j, old)...)
	errs = append(errs, finishedStatus(j, old)...)
	errs = append(errs, indexesStatus(j, old)...)
	s, was := &j.Status, &old.Status
	if s.Failed < was.Failed {
		errs = append(errs, field.Invalid(rule.Status.Child("failed"), s.Failed, "cannot decrease the failed counter"))
	}
	elastic := indexed(&j.Spec) && ptr.Equal(j.Spec.Completions, j.Spec.Parallelism)
	if s.Succeeded < was.Succeeded && !elastic {
		errs = append(errs, field.Invalid(rule.Status.Child("succeeded"), s.Succeeded, "cannot decrease the succeeded counter"))
	}
	return errs
}

func counts(s *batchv1.JobStatus) field.ErrorList {
	errs := rule.NonNegative(s.Active, rule.Status.Child("active"))
	errs = append(errs, rule.NonNegative(s.Succeeded, rule.Status.Child("succeeded"))...)
	errs = append(errs, rule.NonNegative(s.Failed, rule.Status.Child("failed"))...)
	errs = append(errs, rule.OptionalNonNegative(s.Ready, rule.Status.Child("ready"))...)
	errs = append(errs, rule.OptionalNonNegative(s.Terminating, rule.Status.Child("terminating"))...)
	if s.UncountedTerminatedPods == nil {
		return errs
	}
	path, seen := rule.Status.Child("uncountedTerminatedPods"), map[string]bool{}
	for i, uid := range s.UncountedTerminatedPods.Succeeded {
		errs = append(errs, uncounted(string(uid), seen, path.Child("succeeded").Index(i))...)
	}
	for i, uid := range s.UncountedTerminatedPods.Failed {
		errs = append(errs, uncounted(string(uid), seen, path.Child("failed").Index(i))...)
	}
	return errs
}

func uncounted(uid string, seen map[string]bool, path *field.Path) field.ErrorList {
	if uid == "" {
		return field.ErrorList{field.Invalid(path, uid, "must not be empty")}
	}
	return rule.Unique(seen, uid, path)
}

func conditionsStatus(j, old *batchv1.Job) field.ErrorList {
	changed := func(t batchv1.JobConditionType) bool { return is(j, t) != is(old, t) }
	both := func(a, b batchv1.JobConditionType) bool { return is(j, a) && is(j, b) }
	var errs field.ErrorList
	refuse := func(message string) {
		errs = append(errs, field.Invalid(rule.Status.Child("conditions"), field.OmitValueType{}, message))
	}
	if (changed(batchv1.JobComplete) || changed(batchv1.JobFailed)) && both(batchv1.JobComplete, batchv1.JobFailed) {
		refuse("cannot set Complete=True and Failed=true conditions")
	}
	if (changed(batchv1.JobComplete) || changed(batchv1.JobFailureTarget)) && both(batchv1.JobComplete, batchv1.JobFailureTarget) {
		refuse("cannot set Complete=True and FailureTarget=true conditions")
	}
	if changed(batchv1.JobFailed) && is(j, batchv1.JobFailed) && !is(j, batchv1.JobFailureTarget) {
		refuse("cannot set Failed=True condition without the FailureTarget=true condition")
	}
	if changed(batchv1.JobComplete) && is(j, batchv1.JobComplete) && !is(j, batchv1.JobSuccessCriteriaMet) {
		refuse("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	}
	if both(batchv1.JobSuccessCriteriaMet, batchv1.JobFailed) {
		refuse("cannot set SuccessCriteriaMet=True and Failed=true conditions")
	}
	if both(batchv1.JobSuccessCriteriaMet, batchv1.JobFailureTarget) {
		refuse("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	}
	if j.Spec.SuccessPolicy != nil && !is(j, batchv1.JobSuccessCriteriaMet) && is(j, batchv1.JobComplete) {
		refuse("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
	}
	for _, t := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		if is(old, t) && !is(j, t) {
			refuse(fmt.Sprintf("cannot disable the terminal %s=True condition", t))
		}
	}
	if is(old, batchv1.JobSuccessCriteriaMet) && !is(j, batchv1.JobSuccessCriteriaMet) {
		refuse("cannot disable the SuccessCriteriaMet=True condition")
	}
	if is(old, batchv1.JobComplete) && !is(old, batchv1.JobSuccessCriteriaMet) && is(j, batchv1.JobSuccessCriteriaMet) {
		refuse("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
	}
	return errs
}

func timesStatus(j, old *batchv1.Job) field.ErrorList {
	var errs field.ErrorList
	s, was := &j.Status, &old.Status
	start, end := rule.Status.Child("startTime"), rule.Status.Child("completionTime")
	startChanged, endChanged := !s.StartTime.Equal(was.StartTime), !s.CompletionTime.Equal(was.CompletionTime)
	complete := is(j, batchv1.JobComplete)
	if endChanged || complete != is(old, batchv1.JobComplete) {
		switch {
		case s.CompletionTime != nil && !complete:
			errs = append(errs, field.Invalid(end, s.CompletionTime, "cannot set completionTime when there is no Complete=True condition"))
		case s.CompletionTime == nil && complete:
			errs = append(errs, field.Required(end, "completionTime is required for Complete jobs"))
		}
	}
	if (startChanged || endChanged) && s.StartTime != nil && s.CompletionTime != nil && s.CompletionTime.Before(s.StartTime) {
		errs = append(errs, field.Invalid(end, s.CompletionTime, "completionTime cannot be set before startTime"))
	}
	if s.CompletionTime != nil && was.CompletionTime != nil && endChanged {
		errs = append(errs, field.Invalid(end, s.CompletionTime, "completionTime cannot be mutated"))
	}
	if startChanged && was.StartTime != nil && !ptr.Deref(j.Spec.Suspend, false) {
		errs = append(errs, field.Required(start, "startTime cannot be removed for unsuspended job"))
	}
	if (startChanged || finished(j) != finished(old)) && s.StartTime == nil && finished(j) {
		errs = append(errs, field.Required(start, "startTime is required for finished job"))
	}
	return errs
}

func finishedStatus(j, old *batchv1.Job) field.ErrorList {
	var errs field.ErrorList
	s, was := &j.Status, &old.Status
	changed := finished(j) != finished(old)
	if (changed || s.Active != was.Active) && s.Active > 0 && finished(j) {
		errs = append(errs, field.Invalid(rule.Status.Child("active"), s.Active, "active>0 is invalid for finished job"))
	}
	if (changed || !ptr.Equal(s.Terminating, was.Terminating)) && ptr.Deref(s.Terminating, 0) > 0 && finished(j) {
		errs = append(errs, field.Invalid(rule.Status.Child("terminating"), s.Terminating, "terminating>0 is invalid for finished job"))
	}
	if (s.Active != was.Active || !ptr.Equal(s.Ready, was.Ready)) && s.Ready != nil && *s.Ready > s.Active {
		errs = append(errs, field.Invalid(rule.Status.Child("ready"), *s.Ready, "cannot set more ready pods than active"))
	}
	if u := s.UncountedTerminatedPods; (changed || kind.Differ(u, was.UncountedTerminatedPods)) && finished(j) && u != nil && len(u.Failed)+len(u.Succeeded) > 0 {
		errs = append(errs, field.Invalid(rule.Status.Child("uncountedTerminatedPods"), u, "uncountedTerminatedPods needs to be empty for finished job"))
	}
	return errs
}

func indexesStatus(j, old *batchv1.Job) field.ErrorList {
	var errs field.ErrorList
	s, was := &j.Status, &old.Status
	completed, failed := rule.Status.Child("completedIndexes"), rule.Status.Child("failedIndexes")
	completedChanged, failedChanged := s.CompletedIndexes != was.CompletedIndexes, !ptr.Equal(s.FailedIndexes, was.FailedIndexes)
	if completedChanged && j.Spec.Completions != nil {
		if _, err := countIndexes(s.CompletedIndexes, int(*j.Spec.Completions)); err != nil {
			errs = append(errs, field.Invalid(completed, s.CompletedIndexes, "error parsing completedIndexes: "+err.Error()))
		}
	}
	if completedChanged && s.CompletedIndexes != "" && !indexed(&j.Spec) {
		errs = append(errs, field.Invalid(completed, s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode"))
	}
	if s.FailedIndexes == nil {
		return errs
	}
	switch {
	case failedChanged && j.Spec.BackoffLimitPerIndex == nil:
		errs = append(errs, field.Invalid(failed, *s.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null"))
	case failedChanged && j.Spec.Completions != nil:
		if _, err := countIndexes(*s.FailedIndexes, int(*j.Spec.Completions)); err != nil {
			errs = append(errs, field.Invalid(failed, *s.FailedIndexes, "error parsing failedIndexes: "+err.Error()))
		}
	}
	if (failedChanged || completedChanged) && j.Spec.Completions != nil {
		if err := overlap(s.CompletedIndexes, *s.FailedIndexes, int(*j.Spec.Completions)); err != nil {
			errs = append(errs, field.Invalid(failed, *s.FailedIndexes, err.Error()))
		}
	}
	return errs
}
