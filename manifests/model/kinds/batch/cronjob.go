package batch

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a machine need not have the zones' rules

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

// maxCronJobName leaves 11 characters of a job's name for the time.
const maxCronJobName = 52

var templatePath = rule.Spec.Child("jobTemplate", "spec")

var cronJob = kind.Define[batchv1.CronJob, batchv1.CronJobList](kind.Definition[*batchv1.CronJob]{
	Names: kind.Names{
		GroupVersionKind: batchv1.SchemeGroupVersion.WithKind("CronJob"),
		Plural:           "cronjobs", Singular: "cronjob",
		ShortNames: []string{"cj"}, Categories: []string{"all"}, Namespaced: true,
	},
	Order:   220,
	Status:  true,
	Default: defaultCronJob,
	Lifecycle: kind.Lifecycle[*batchv1.CronJob]{
		Create:       func(c *batchv1.CronJob) { c.Status = batchv1.CronJobStatus{} },
		Update:       func(c, old *batchv1.CronJob) { c.Status = old.Status },
		UpdateStatus: func(c, old *batchv1.CronJob) { c.Spec = old.Spec },
		Changed:      func(c, old *batchv1.CronJob) bool { return kind.Differ(c.Spec, old.Spec) },
	},
	Honours: honour.Types{
		honour.Of[batchv1.CronJob]():         {Honoured: "TypeMeta metadata spec status"},
		honour.Of[batchv1.CronJobSpec]():     {Honoured: "schedule timeZone startingDeadlineSeconds concurrencyPolicy suspend jobTemplate successfulJobsHistoryLimit failedJobsHistoryLimit"},
		honour.Of[batchv1.JobTemplateSpec](): {Honoured: "metadata spec"},
	},
	Rules: kind.Rules[*batchv1.CronJob]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateCronJob,
		Create: func(c *batchv1.CronJob) field.ErrorList {
			if len(c.Name) > maxCronJobName {
				return field.ErrorList{field.Invalid(rule.Metadata.Child("name"), c.Name, "must be no more than 52 characters")}
			}
			return nil
		},
		Duplicates: func(c *batchv1.CronJob) field.ErrorList {
			return podspec.Duplicates(&c.Spec.JobTemplate.Spec.Template.Spec, templatePath.Child("template", "spec"))
		},
	},
	Warnings: func(c, old *batchv1.CronJob) []string {
		if old == nil {
			return append(podspec.NameWarnings(c.Name), specWarnings(&c.Spec.JobTemplate.Spec, templatePath)...)
		}
		if c.Generation == old.Generation {
			return nil
		}
		return specWarnings(&c.Spec.JobTemplate.Spec, templatePath)
	},
	Table: kind.Table[*batchv1.CronJob]{
		Columns: column.Define("Name", "Schedule", "Timezone", "?Suspend", "#Active", "Last Schedule", "Age", "+Containers", "+Images", "+Selector"),
		Row:     cronJobRow,
	},
	PodTemplate: func(c *batchv1.CronJob) (*metav1.ObjectMeta, *corev1.PodSpec) {
		return &c.Spec.JobTemplate.Spec.Template.ObjectMeta, &c.Spec.JobTemplate.Spec.Template.Spec
	},
	// Its jobs have pods, when their time comes.
	Rollout: func(_ *batchv1.CronJob, edit kind.Edit) kind.Rollout {
		return kind.Rollout{Pods: edit.Pods, InPlace: true}
	},
	Health: kind.Health[*batchv1.CronJob]{
		Of: func(*batchv1.CronJob, object.Reader) health.Result {
			return health.Result{Status: health.Current, Message: "Resource is always ready"}
		},
		Pods: func(*batchv1.CronJob, object.Reader, func(object.Object) []*corev1.Pod) []*corev1.Pod { return nil },
	},
})

// defaultCronJob leaves what a job gets by itself to the jobs.
func defaultCronJob(c *batchv1.CronJob) {
	s := &c.Spec
	fill.Zero(&s.ConcurrencyPolicy, batchv1.AllowConcurrent)
	fill.Unset(&s.Suspend, false)
	fill.Unset(&s.SuccessfulJobsHistoryLimit, 3)
	fill.Unset(&s.FailedJobsHistoryLimit, 1)
	defaultConditions(&s.JobTemplate.Spec)
	fill.PodSpec(&s.JobTemplate.Spec.Template.Spec)
}

func cronJobRow(c *batchv1.CronJob, now time.Time) []any {
	suspend, last := "<unset>", column.None
	if c.Spec.Suspend != nil {
		suspend = "False"
		if *c.Spec.Suspend {
			suspend = "True"
		}
	}
	if c.Status.LastScheduleTime != nil {
		last = column.Since(*c.Status.LastScheduleTime, now)
	}
	template := &c.Spec.JobTemplate.Spec
	containers, images := column.Containers(template.Template.Spec.Containers)
	return []any{
		c.Name, c.Spec.Schedule, ptr.Deref(c.Spec.TimeZone, column.None), suspend, int64(len(c.Status.Active)), last, column.Age(c, now),
		containers, images, metav1.FormatLabelSelector(template.Selector),
	}
}

func validateCronJob(c *batchv1.CronJob) field.ErrorList {
	s := &c.Spec
	errs := schedule(s.Schedule, rule.Spec.Child("schedule"))
	errs = append(errs, rule.OptionalNonNegative(s.StartingDeadlineSeconds, rule.Spec.Child("startingDeadlineSeconds"))...)
	errs = append(errs, timeZone(s.TimeZone, rule.Spec.Child("timeZone"))...)
	errs = append(errs, rule.OneOf(s.ConcurrencyPolicy, rule.Spec.Child("concurrencyPolicy"), batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)...)
	errs = append(errs, validateJobSpec(&s.JobTemplate.Spec, templatePath)...)
	if selector := s.JobTemplate.Spec.Selector; selector != nil {
		errs = append(errs, field.Invalid(templatePath.Child("selector"), selector, "`selector` will be auto-generated"))
	}
	if manual := s.JobTemplate.Spec.ManualSelector; ptr.Deref(manual, false) {
		errs = append(errs, field.NotSupported(templatePath.Child("manualSelector"), strconv.FormatBool(*manual), []string{"nil", "false"}))
	}
	errs = append(errs, rule.OptionalNonNegative(s.SuccessfulJobsHistoryLimit, rule.Spec.Child("successfulJobsHistoryLimit"))...)
	return append(errs, rule.OptionalNonNegative(s.FailedJobsHistoryLimit, rule.Spec.Child("failedJobsHistoryLimit"))...)
}

func schedule(text string, path *field.Path) field.ErrorList {
	if text == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	var errs field.ErrorList
	if err := parseSchedule(text); err != nil {
		errs = append(errs, field.Invalid(path, text, err.Error()))
	}
	if strings.Contains(text, "TZ") {
		errs = append(errs, field.Invalid(path, text, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
	}
	return errs
}

// parseSchedule says what is wrong with a schedule. The parser panics at a zone with
// nothing after it.
func parseSchedule(text string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("invalid schedule format: %v", r)
		}
	}()
	_, err = cron.ParseStandard(text)
	return err
}

func timeZone(zone *string, path *field.Path) field.ErrorList {
	switch {
	case zone == nil:
		return nil
	case *zone == "":
		return field.ErrorList{field.Invalid(path, zone, "timeZone must be nil or non-empty string")}
	case !zoneName(*zone):
		return field.ErrorList{field.Invalid(path, zone, "unknown time zone "+*zone)}
	}
	var errs field.ErrorList
	if strings.EqualFold(*zone, "Local") {
		errs = append(errs, field.Invalid(path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"))
	}
	if _, err := time.LoadLocation(*zone); err != nil {
		errs = append(errs, field.Invalid(path, zone, err.Error()))
	}
	return errs
}

// zoneName reports whether a name is one that a zone can have: it is looked up among
// files.
func zoneName(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || len(part) > 14 || part == "." || part == ".." || part[0] == '-' ||
			strings.Trim(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.-_0123456789+") != "" {
			return false
		}
	}
	return true
}
