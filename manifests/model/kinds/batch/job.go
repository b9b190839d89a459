package batch

import (
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
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

// The names of labels by which jobs found their pods before they had a domain.
const (
	legacyControllerUID = "controller-uid"
	legacyJobName       = "job-name"
)

var job = kind.Define[batchv1.Job, batchv1.JobList](kind.Definition[*batchv1.Job]{
	Names: kind.Names{
		GroupVersionKind: batchv1.SchemeGroupVersion.WithKind("Job"),
		Plural:           "jobs", Singular: "job",
		Categories: []string{"all"}, Namespaced: true,
	},
	REST:    kind.REST{Orphans: true},
	Order:   245,
	Status:  true,
	Default: defaultJob,
	Lifecycle: kind.Lifecycle[*batchv1.Job]{
		Create: func(j *batchv1.Job) {
			j.Status = batchv1.JobStatus{}
			if !ptr.Deref(j.Spec.ManualSelector, false) {
				generateSelector(j)
			}
			labelled(j)
		},
		Update:       func(j, old *batchv1.Job) { j.Status = old.Status },
		UpdateStatus: func(j, old *batchv1.Job) { j.Spec = old.Spec },
		Changed:      func(j, old *batchv1.Job) bool { return kind.Differ(j.Spec, old.Spec) },
	},
	Honours: jobHonours,
	Rules: kind.Rules[*batchv1.Job]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateJob,
		Create: func(j *batchv1.Job) field.ErrorList { return generated(j, true) },
		Update: validateJobUpdate,
		Status: validateJobStatus,
		Duplicates: func(j *batchv1.Job) field.ErrorList {
			return podspec.Duplicates(&j.Spec.Template.Spec, rule.Spec.Child("template", "spec"))
		},
	},
	Warnings: func(j, old *batchv1.Job) []string {
		if old == nil {
			return append(podspec.NameWarnings(j.Name), specWarnings(&j.Spec, rule.Spec)...)
		}
		if j.Generation == old.Generation {
			return nil
		}
		return specWarnings(&j.Spec, rule.Spec)
	},
	Table: kind.Table[*batchv1.Job]{
		Columns: column.Define("Name", "Status", "Completions", "Duration", "Age", "+Containers", "+Images", "+Selector"),
		Row:     jobRow,
	},
	Fields: kind.Fields[*batchv1.Job]{
		Names: []string{"status.successful"},
		Read: func(j *batchv1.Job, into fields.Set) {
			into["status.successful"] = strconv.Itoa(int(j.Status.Succeeded))
		},
	},
	PodTemplate: func(j *batchv1.Job) (*metav1.ObjectMeta, *corev1.PodSpec) {
		return &j.Spec.Template.ObjectMeta, &j.Spec.Template.Spec
	},
	Rollout: jobRollout,
	Health: kind.Health[*batchv1.Job]{
		Of: jobHealth,
		Pods: func(j *batchv1.Job, _ object.Reader, owned func(object.Object) []*corev1.Pod) []*corev1.Pod {
			return owned(j)
		},
	},
})

var jobHonours = honour.Types{
	honour.Of[batchv1.Job](): {Honoured: "TypeMeta metadata spec status"},
	honour.Of[batchv1.JobSpec](): {
		Honoured: "parallelism completions activeDeadlineSeconds podFailurePolicy successPolicy backoffLimit backoffLimitPerIndex maxFailedIndexes selector manualSelector template ttlSecondsAfterFinished completionMode suspend podReplacementPolicy managedBy",
		Rules:    map[string]*honour.Rule{"scheduling": honour.NotServed("workloads and pod groups are not served; Kubernetes has the field behind a gate that is off")},
	},
	honour.Of[batchv1.PodFailurePolicy]():                       {Honoured: "rules"},
	honour.Of[batchv1.PodFailurePolicyRule]():                   {Honoured: "action onExitCodes onPodConditions"},
	honour.Of[batchv1.PodFailurePolicyOnExitCodesRequirement](): {Honoured: "containerName operator values"},
	honour.Of[batchv1.PodFailurePolicyOnPodConditionsPattern](): {Honoured: "type status"},
	honour.Of[batchv1.SuccessPolicy]():                          {Honoured: "rules"},
	honour.Of[batchv1.SuccessPolicyRule]():                      {Honoured: "succeededIndexes succeededCount"},
}

func defaultJob(j *batchv1.Job) {
	defaultJobSpec(&j.Spec)
	labelled(j)
}

func defaultJobSpec(s *batchv1.JobSpec) {
	if s.Completions == nil && s.Parallelism == nil {
		s.Completions = new(int32(1))
	}
	fill.Unset(&s.Parallelism, 1)
	if s.BackoffLimitPerIndex != nil {
		fill.Unset(&s.BackoffLimit, math.MaxInt32)
	}
	fill.Unset(&s.BackoffLimit, 6)
	fill.Unset(&s.CompletionMode, batchv1.NonIndexedCompletion)
	fill.Unset(&s.Suspend, false)
	fill.Unset(&s.ManualSelector, false)
	if s.PodFailurePolicy != nil {
		fill.Unset(&s.PodReplacementPolicy, batchv1.Failed)
	}
	defaultConditions(s)
	fill.Unset(&s.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	fill.PodSpec(&s.Template.Spec)
}

func defaultConditions(s *batchv1.JobSpec) {
	if s.PodFailurePolicy == nil {
		return
	}
	for i := range s.PodFailurePolicy.Rules {
		conditions := s.PodFailurePolicy.Rules[i].OnPodConditions
		for k := range conditions {
			fill.Zero(&conditions[k].Status, corev1.ConditionTrue)
		}
	}
}

// labelled gives a job without labels those of its template, as Kubernetes does.
func labelled(j *batchv1.Job) {
	if len(j.Labels) == 0 && len(j.Spec.Template.Labels) > 0 {
		j.Labels = maps.Clone(j.Spec.Template.Labels)
	}
}

// generateSelector makes the job select its own pods and no others. What is set to
// something else stays, and is refused.
func generateSelector(j *batchv1.Job) {
	template := &j.Spec.Template
	template.Labels = maps.Clone(template.Labels)
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	for label, value := range generatedLabels(j) {
		if _, found := template.Labels[label]; !found {
			template.Labels[label] = value
		}
	}
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, found := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !found {
		j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] = string(j.UID)
	}
}

func generatedLabels(j *batchv1.Job) map[string]string {
	return map[string]string{
		legacyControllerUID: string(j.UID), batchv1.ControllerUidLabel: string(j.UID),
		legacyJobName: j.Name, batchv1.JobNameLabel: j.Name,
	}
}

func specWarnings(s *batchv1.JobSpec, path *field.Path) []string {
	var warnings []string
	if indexed(s) && ptr.Deref(s.Completions, 0) > manyCompletions && ptr.Deref(s.Parallelism, 0) > parallelismOfMany {
		warnings = append(warnings, fmt.Sprintf("%s: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail", path))
	}
	return append(warnings, podspec.Warnings(&s.Template.ObjectMeta, &s.Template.Spec, path.Child("template"))...)
}

func jobRollout(j *batchv1.Job, edit kind.Edit) kind.Rollout {
	if finished(j) || ptr.Deref(j.Spec.ManagedBy, batchv1.JobControllerName) != batchv1.JobControllerName {
		return kind.Rollout{Pods: edit.Pods, InPlace: true}
	}
	r := kind.Rollout{Pods: int(ptr.Deref(j.Spec.Parallelism, 1))}
	if j.Spec.Completions != nil {
		r.Pods = max(0, min(r.Pods, int(*j.Spec.Completions-j.Status.Succeeded)))
	}
	if ptr.Deref(j.Spec.Suspend, false) {
		r.Pods = 0
	}
	if edit.Template() {
		r.Note = "a Job leaves its pods as they are: the new template counts for new ones only"
	}
	return r
}

func jobRow(j *batchv1.Job, now time.Time) []any {
	containers, images := column.Containers(j.Spec.Template.Spec.Containers)
	return []any{
		j.Name, jobState(j), completions(j), jobDuration(j, now), column.Age(j, now),
		containers, images, metav1.FormatLabelSelector(j.Spec.Selector),
	}
}

func jobState(j *batchv1.Job) string {
	switch {
	case is(j, batchv1.JobComplete):
		return "Complete"
	case is(j, batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case is(j, batchv1.JobSuspended):
		return "Suspended"
	case is(j, batchv1.JobFailureTarget):
		return "FailureTarget"
	case is(j, batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func completions(j *batchv1.Job) string {
	if j.Spec.Completions != nil {
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	}
	if parallelism := ptr.Deref(j.Spec.Parallelism, 0); parallelism > 1 {
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, parallelism)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func jobDuration(j *batchv1.Job, now time.Time) string {
	switch start, end := j.Status.StartTime, j.Status.CompletionTime; {
	case start == nil:
		return ""
	case end == nil:
		return duration.HumanDuration(now.Sub(start.Time))
	default:
		return duration.HumanDuration(end.Sub(start.Time))
	}
}

func indexed(s *batchv1.JobSpec) bool {
	return ptr.Deref(s.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion
}

func is(j *batchv1.Job, condition batchv1.JobConditionType) bool {
	for _, c := range j.Status.Conditions {
		if c.Type == condition && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

func finished(j *batchv1.Job) bool { return is(j, batchv1.JobComplete) || is(j, batchv1.JobFailed) }
