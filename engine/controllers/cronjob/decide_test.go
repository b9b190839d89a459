package cronjob_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/engine/controllers/cronjob"
)

// now is half a minute after one of the times of "*/10 * * * *".
var now = time.Date(2026, 1, 2, 3, 10, 30, 0, time.UTC)

func at(ago time.Duration) *metav1.Time { return new(metav1.NewTime(now.Add(-ago))) }

func newCronJob(edit ...func(*batchv1.CronJob)) *batchv1.CronJob {
	c := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tick", UID: "cron", CreationTimestamp: *at(5 * time.Minute)},
		Spec: batchv1.CronJobSpec{
			Schedule: "*/10 * * * *", ConcurrencyPolicy: batchv1.AllowConcurrent,
			SuccessfulJobsHistoryLimit: new(int32(3)), FailedJobsHistoryLimit: new(int32(1)),
			JobTemplate: batchv1.JobTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "tick"}}},
		},
	}
	for _, e := range edit {
		e(c)
	}
	return c
}

func spec(edit func(s *batchv1.CronJobSpec)) func(*batchv1.CronJob) {
	return func(c *batchv1.CronJob) { edit(&c.Spec) }
}

func active(names ...string) func(*batchv1.CronJob) {
	return func(c *batchv1.CronJob) {
		for _, name := range names {
			c.Status.Active = append(c.Status.Active, corev1.ObjectReference{Kind: "Job", Name: name, UID: types.UID(name)})
		}
	}
}

func last(ago time.Duration) func(*batchv1.CronJob) {
	return func(c *batchv1.CronJob) { c.Status.LastScheduleTime = at(ago) }
}

func newJob(name string, edit ...func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: name, UID: types.UID(name),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "CronJob", Name: "tick", UID: "cron", Controller: new(true)}},
	}}
	for _, e := range edit {
		e(j)
	}
	return j
}

func ended(how batchv1.JobConditionType, ago time.Duration) func(*batchv1.Job) {
	return func(j *batchv1.Job) {
		j.Status.StartTime = at(ago)
		if how == batchv1.JobComplete {
			j.Status.CompletionTime = at(ago)
		}
		j.Status.Conditions = []batchv1.JobCondition{{Type: how, Status: corev1.ConditionTrue}}
	}
}

// told is a plan in one line.
func told(p cronjob.Plan) string {
	var text []string
	if p.Create != nil {
		text = append(text, "create "+p.Create.Name+" for "+p.Create.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
	}
	for _, j := range p.Delete {
		text = append(text, "delete "+j.Name)
	}
	for _, ref := range p.Status.Active {
		text = append(text, "active "+ref.Name)
	}
	if p.Status.LastScheduleTime != nil {
		text = append(text, "last "+p.Status.LastScheduleTime.UTC().Format("15:04"))
	}
	if p.Status.LastSuccessfulTime != nil {
		text = append(text, "succeeded "+p.Status.LastSuccessfulTime.UTC().Format("15:04:05"))
	}
	for _, e := range p.Events {
		text = append(text, "event "+e.Reason)
	}
	if p.After > 0 {
		text = append(text, "after "+p.After.String())
	}
	return strings.Join(text, "; ")
}

func TestDecide(t *testing.T) {
	const name = "tick-29455390"
	if want := fmt.Sprintf("tick-%d", now.Unix()/60); want != name {
		t.Fatalf("the job is %s", want)
	}
	made := "create " + name + " for 2026-01-02T03:10:00Z; "
	for what, tc := range map[string]struct {
		cron *batchv1.CronJob
		jobs []*batchv1.Job
		want string
	}{
		"due":            {newCronJob(), nil, made + "last 03:10; after 9m30s"},
		"not due":        {newCronJob(func(c *batchv1.CronJob) { c.CreationTimestamp = *at(time.Second) }), nil, "after 9m30s"},
		"done":           {newCronJob(last(30 * time.Second)), nil, "last 03:10; after 9m30s"},
		"some missed":    {newCronJob(last(time.Hour)), nil, made + "last 03:10; after 9m30s"},
		"many missed":    {newCronJob(last(24 * time.Hour)), nil, made + "last 03:10; event TooManyMissedTimes; after 9m30s"},
		"many, but late": {newCronJob(last(24*time.Hour), spec(func(s *batchv1.CronJobSpec) { s.StartingDeadlineSeconds = new(int64(60)) })), nil, made + "last 03:10; after 9m30s"},
		"too late":       {newCronJob(spec(func(s *batchv1.CronJobSpec) { s.StartingDeadlineSeconds = new(int64(10)) })), nil, "after 9m30s"},
		"for ever":       {newCronJob(spec(func(s *batchv1.CronJobSpec) { s.StartingDeadlineSeconds = new(int64(math.MaxInt64)) })), nil, made + "last 03:10; after 9m30s"},
		"for centuries":  {newCronJob(spec(func(s *batchv1.CronJobSpec) { s.StartingDeadlineSeconds = new(int64(10_000_000_000)) })), nil, made + "last 03:10; after 9m30s"},
		"suspended":      {newCronJob(spec(func(s *batchv1.CronJobSpec) { s.Suspend = new(true) })), nil, ""},
		"going":          {newCronJob(func(c *batchv1.CronJob) { c.DeletionTimestamp = at(0) }), nil, ""},
		"in a zone": {
			newCronJob(spec(func(s *batchv1.CronJobSpec) { s.Schedule, s.TimeZone = "10 4 * * *", new("Europe/Berlin") })), nil,
			"create " + name + " for 2026-01-02T04:10:00+01:00; last 03:10; after 23h59m30s",
		},
		"never":        {newCronJob(spec(func(s *batchv1.CronJobSpec) { s.Schedule = "0 0 31 2 *" })), nil, "event InvalidSchedule"},
		"no such zone": {newCronJob(spec(func(s *batchv1.CronJobSpec) { s.TimeZone, s.Suspend = new("Nowhere/None"), new(true) })), nil, "event UnknownTimeZone"},
		"many of every": {
			newCronJob(last(1000*time.Hour), spec(func(s *batchv1.CronJobSpec) { s.Schedule = "@every 7m" })), nil,
			"create tick-29455387 for 2026-01-02T03:07:30Z; last 03:07; event TooManyMissedTimes; after 4m0s",
		},
		// A job that ends in between does not put the next one off.
		"not yet of every": {
			newCronJob(last(50*time.Minute), active("a"), spec(func(s *batchv1.CronJobSpec) { s.Schedule = "@every 1h" })),
			[]*batchv1.Job{newJob("a", ended(batchv1.JobComplete, time.Minute))},
			"last 02:20; succeeded 03:09:30; event SawCompletedJob; after 10m0s",
		},
		"allow":        {newCronJob(active("a")), []*batchv1.Job{newJob("a")}, made + "active a; last 03:10; after 9m30s"},
		"forbid":       {newCronJob(active("a"), spec(func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = batchv1.ForbidConcurrent })), []*batchv1.Job{newJob("a")}, "active a; event JobAlreadyActive; after 9m30s"},
		"replace":      {newCronJob(active("a"), spec(func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = batchv1.ReplaceConcurrent })), []*batchv1.Job{newJob("a")}, made + "delete a; last 03:10; after 9m30s"},
		"its name":     {newCronJob(), []*batchv1.Job{newJob(name, ended(batchv1.JobComplete, 0))}, "last 03:10; succeeded 03:10:30; after 9m30s"},
		"has finished": {newCronJob(last(0), active("a")), []*batchv1.Job{newJob("a", ended(batchv1.JobComplete, time.Minute))}, "last 03:10; succeeded 03:09:30; event SawCompletedJob; after 9m30s"},
		"missing":      {newCronJob(last(0), active("a")), nil, "last 03:10; event MissingJob; after 9m30s"},
		"by hand":      {newCronJob(last(0)), []*batchv1.Job{newJob("manual")}, "last 03:10; event UnexpectedJob; after 9m30s"},
		"history": {newCronJob(last(0)), []*batchv1.Job{
			newJob("a", ended(batchv1.JobComplete, 4*time.Hour)), newJob("b", ended(batchv1.JobComplete, 5*time.Hour)), newJob("c", ended(batchv1.JobComplete, 2*time.Hour)), newJob("d", ended(batchv1.JobComplete, time.Hour)),
			newJob("e", ended(batchv1.JobFailed, 2*time.Hour)), newJob("f", ended(batchv1.JobFailed, 3*time.Hour)),
		}, "delete b; delete f; last 03:10; succeeded 02:10:30; after 9m30s"},
	} {
		t.Run(what, func(t *testing.T) {
			taken := func(name string) *batchv1.Job {
				for _, j := range tc.jobs {
					if j.Name == name {
						return j
					}
				}
				return nil
			}
			plan := cronjob.Decide(tc.cron, tc.jobs, taken, now)
			if got := told(plan); got != tc.want {
				t.Errorf("the plan is\n%s\nwant\n%s", got, tc.want)
			}
			if j := plan.Create; j != nil && (j.Labels["app"] != "tick" || !metav1.IsControlledBy(j, tc.cron)) {
				t.Errorf("the job is %+v", j.ObjectMeta)
			}
		})
	}
}
