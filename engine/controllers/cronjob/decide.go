// Package cronjob starts Jobs when the time of their CronJob has come, and removes
// those that have finished but for a few.
//
// Decide is the pure core. The Job that it starts, those that it removes and the
// status that tells of them are one transaction: a time is never missed for one that
// was not written, and never started twice.
package cronjob

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/job"
	"headway.dev/manifests/loop"
)

// Event is what there is to tell about a CronJob.
type Event struct{ Type, Reason, Message string }

// Plan is what has to be done with a CronJob, all of it at once.
type Plan struct {
	// Status is that with all of the plan done, but for the reference to Create.
	Status batchv1.CronJobStatus
	Create *batchv1.Job
	Delete []*batchv1.Job
	Events []Event
	// After is when to look again without an event (0: never).
	After time.Duration
}

// Decide compares a CronJob with the jobs that it controls. taken returns the job of a
// name, whoever controls it, nil if there is none.
func Decide(c *batchv1.CronJob, jobs []*batchv1.Job, taken func(name string) *batchv1.Job, now time.Time) Plan {
	var p Plan
	c.Status.DeepCopyInto(&p.Status)
	p.look(c, jobs)
	p.trim(jobs, batchv1.JobComplete, c.Spec.SuccessfulJobsHistoryLimit)
	p.trim(jobs, batchv1.JobFailed, c.Spec.FailedJobsHistoryLimit)
	if c.DeletionTimestamp != nil {
		return p
	}
	if zone := c.Spec.TimeZone; zone != nil {
		if _, err := time.LoadLocation(*zone); err != nil {
			p.tell(corev1.EventTypeWarning, "UnknownTimeZone", "invalid timeZone: %q: %s", *zone, err)
			return p
		}
	}
	if ptr.Deref(c.Spec.Suspend, false) {
		return p
	}
	times, err := parse(c)
	if err != nil {
		p.tell(corev1.EventTypeWarning, "UnparseableSchedule", "unparseable schedule: %q : %s", c.Spec.Schedule, err)
		return p
	}
	next := following(c, times, now)
	if next.IsZero() {
		p.tell(corev1.EventTypeWarning, "InvalidSchedule", "invalid schedule: %s : time difference between two schedules is less than 1 second", c.Spec.Schedule)
		return p
	}
	p.After = next.Sub(now)
	due, many := recent(times, since(c, now), now)
	if many {
		p.tell(corev1.EventTypeWarning, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	if !due.IsZero() {
		p.start(c, jobs, taken, due, now)
	}
	return p
}

// look brings the list of active jobs up to date.
func (p *Plan) look(c *batchv1.CronJob, jobs []*batchv1.Job) {
	present := map[types.UID]bool{}
	for _, j := range jobs {
		present[j.UID] = true
		end := job.Finished(j)
		switch listed := p.active(j.UID); {
		case !listed && end == nil:
			p.tell(corev1.EventTypeWarning, "UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", j.Name)
		case listed && end != nil:
			p.drop(j.UID)
			p.tell(corev1.EventTypeNormal, "SawCompletedJob", "Saw completed job: %s, condition: %v", j.Name, end.Type)
		}
		if done := j.Status.CompletionTime; end != nil && end.Type == batchv1.JobComplete && done != nil && (p.Status.LastSuccessfulTime == nil || done.After(p.Status.LastSuccessfulTime.Time)) {
			p.Status.LastSuccessfulTime = done.DeepCopy()
		}
	}
	for _, ref := range c.Status.Active {
		if !present[ref.UID] {
			p.drop(ref.UID)
			p.tell(corev1.EventTypeNormal, "MissingJob", "Active job went missing: %v", ref.Name)
		}
	}
}

// trim removes the oldest of the jobs that finished in one way, but for a few.
func (p *Plan) trim(jobs []*batchv1.Job, how batchv1.JobConditionType, limit *int32) {
	if limit == nil {
		return
	}
	var ended []*batchv1.Job
	for _, j := range jobs {
		if end := job.Finished(j); end != nil && end.Type == how && j.DeletionTimestamp == nil {
			ended = append(ended, j)
		}
	}
	slices.SortStableFunc(ended, func(a, b *batchv1.Job) int {
		return cmp.Or(ptr.Deref(a.Status.StartTime, metav1.Time{}).Compare(ptr.Deref(b.Status.StartTime, metav1.Time{}).Time), cmp.Compare(a.Name, b.Name))
	})
	for _, j := range ended[:max(0, len(ended)-int(*limit))] {
		p.remove(j)
	}
}

// start makes the job of a time, if it is not too late for it.
func (p *Plan) start(c *batchv1.CronJob, jobs []*batchv1.Job, taken func(name string) *batchv1.Job, due, now time.Time) {
	if d := c.Spec.StartingDeadlineSeconds; d != nil && due.Add(loop.Seconds(*d)).Before(now) {
		p.tell(corev1.EventTypeWarning, "MissSchedule", "Missed scheduled time to start a job: %s", due.UTC().Format(time.RFC1123Z))
		return
	}
	name := fmt.Sprintf("%s-%d", c.Name, due.Unix()/60)
	if have := taken(name); have != nil {
		if metav1.IsControlledBy(have, c) {
			p.Status.LastScheduleTime = new(metav1.NewTime(due))
		}
		return
	}
	if c.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent && len(p.Status.Active) > 0 {
		p.tell(corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
		return
	}
	if c.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent {
		for _, j := range jobs {
			if p.active(j.UID) {
				p.remove(j)
			}
		}
	}
	p.Create = newJob(c, name, due)
	p.Status.LastScheduleTime = new(metav1.NewTime(due))
}

func newJob(c *batchv1.CronJob, name string, due time.Time) *batchv1.Job {
	template := c.Spec.JobTemplate.DeepCopy()
	annotations := maps.Clone(template.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	if zone, err := time.LoadLocation(ptr.Deref(c.Spec.TimeZone, "UTC")); err == nil {
		due = due.In(zone)
	}
	annotations[batchv1.CronJobScheduledTimestampAnnotation] = due.Format(time.RFC3339)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: c.Namespace, Name: name, Labels: template.Labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(c, batchv1.SchemeGroupVersion.WithKind("CronJob"))},
		},
		Spec: template.Spec,
	}
}

func (p *Plan) remove(j *batchv1.Job) {
	p.Delete = append(p.Delete, j)
	p.drop(j.UID)
}

func (p *Plan) active(uid types.UID) bool {
	return slices.ContainsFunc(p.Status.Active, func(ref corev1.ObjectReference) bool { return ref.UID == uid })
}

func (p *Plan) drop(uid types.UID) {
	p.Status.Active = slices.DeleteFunc(p.Status.Active, func(ref corev1.ObjectReference) bool { return ref.UID == uid })
}

func (p *Plan) tell(kind, reason, format string, args ...any) {
	p.Events = append(p.Events, Event{kind, reason, fmt.Sprintf(format, args...)})
}
