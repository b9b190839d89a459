package controllers_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/control"
	"headway.dev/engine/controllers/job"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// minutes is a cluster whose clock stands still but for the test.
type minutes struct {
	*cluster
	begin time.Time
	past  *atomic.Int64
}

func startMinutes(t *testing.T) *minutes {
	t.Helper()
	// Half a minute after one: no minute ends but when the test says so.
	m := &minutes{begin: time.Now().Truncate(time.Minute).Add(-30 * time.Second), past: &atomic.Int64{}}
	m.cluster = start(t, 1, quiet, func(cfg *controllers.Config) {
		cfg.Now = func() time.Time { return m.begin.Add(time.Duration(m.past.Load()) * time.Minute) }
	})
	return m
}

func cronKey(name string) object.Key {
	return object.Key{GroupKind: control.CronJob, Namespace: "default", Name: name}
}

func (m *minutes) cron(name string) *batchv1.CronJob {
	return control.Get[batchv1.CronJob](m.store, cronKey(name))
}

// create makes a CronJob for each minute, at a time before the test's first.
func (m *minutes) create(name string, ago time.Duration, edit func(s *batchv1.CronJobSpec)) {
	m.t.Helper()
	cj := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       batchv1.CronJobSpec{Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: newJob("", 1, 1, func(s *batchv1.JobSpec) { s.BackoffLimit = new(int32(0)) }).Spec}},
	}
	if edit != nil {
		edit(&cj.Spec)
	}
	m.commit(change.Create(cj, m.begin.Add(-ago)))
}

func (m *minutes) spec(name string, edit func(s *batchv1.CronJobSpec)) {
	m.t.Helper()
	m.commit(change.Patch(cronKey(name), func(obj object.Object) bool { edit(&obj.(*batchv1.CronJob).Spec); return true }))
}

// minute goes on to one, and makes the controller look at all CronJobs, as it does when
// the time has come.
func (m *minutes) minute(n int64) {
	m.t.Helper()
	m.past.Store(n)
	all, _ := m.store.List(control.CronJob, "default")
	for _, obj := range all {
		m.commit(change.Patch(object.KeyOf(control.CronJob, obj), func(obj object.Object) bool {
			obj.SetLabels(map[string]string{"minute": fmt.Sprint(n)})
			return true
		}))
	}
}

// jobName is that of the job of a minute.
func (m *minutes) jobName(cron string, minute int64) string {
	due := m.begin.Truncate(time.Minute).Add(time.Duration(minute) * time.Minute)
	return fmt.Sprintf("%s-%d", cron, due.Unix()/60)
}

// jobsAre waits for the jobs of a CronJob to be those of some minutes; one that has ended
// has a "+" or "-" before it.
func (m *minutes) jobsAre(cron, want string) {
	m.t.Helper()
	m.eventually(cron+" to have the jobs "+want, func() bool {
		var found, active []string
		for _, obj := range m.list(cron) {
			number := strings.TrimPrefix(obj.Name, cron+"-")
			for n := range int64(5) {
				if obj.Name == m.jobName(cron, n) {
					number = fmt.Sprint(n)
				}
			}
			switch end := job.Finished(obj); {
			case end == nil:
				active = append(active, obj.Name)
			case end.Type == batchv1.JobComplete:
				number = "+" + number
			default:
				number = "-" + number
			}
			found = append(found, number)
		}
		var listed []string
		for _, ref := range m.cron(cron).Status.Active {
			listed = append(listed, ref.Name)
		}
		slices.Sort(listed)
		slices.Sort(active)
		slices.Sort(found)
		return strings.Join(found, " ") == want && slices.Equal(active, listed)
	})
}

func (m *minutes) list(cron string) []*batchv1.Job {
	all, _ := m.store.List(control.Job, "default")
	var jobs []*batchv1.Job
	for _, obj := range all {
		if j := obj.(*batchv1.Job); metav1.IsControlledBy(j, m.cron(cron)) {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

func (m *minutes) told(cron, event string) {
	m.t.Helper()
	m.eventually(cron+" to tell "+event, func() bool { return slices.Contains(m.events("CronJob", cron), event) })
}

// TestCronJobPolicies: what conformance asks of a CronJob, minute by minute: jobs beside
// each other, one at a time, the newest only, none while it is suspended or when it is too
// late, one for however many that were missed, and few that have ended.
func TestCronJobPolicies(t *testing.T) {
	m := startMinutes(t)
	policy := func(p batchv1.ConcurrencyPolicy) func(*batchv1.CronJobSpec) {
		return func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = p }
	}
	limits := func(succeeded, failed int32) func(*batchv1.CronJobSpec) {
		return func(s *batchv1.CronJobSpec) {
			s.SuccessfulJobsHistoryLimit, s.FailedJobsHistoryLimit = &succeeded, &failed
		}
	}
	deadline := func(seconds int64) func(*batchv1.CronJobSpec) {
		return func(s *batchv1.CronJobSpec) { s.StartingDeadlineSeconds = &seconds }
	}
	m.create("allow", 0, policy(batchv1.AllowConcurrent))
	m.create("forbid", 0, policy(batchv1.ForbidConcurrent))
	m.create("replace", 0, policy(batchv1.ReplaceConcurrent))
	m.create("suspended", 0, func(s *batchv1.CronJobSpec) { s.Suspend = new(true) })
	m.create("late", 0, deadline(10))
	m.create("soon", 0, deadline(45))
	m.create("good", 0, limits(1, 0))
	m.create("bad", 0, limits(0, 1))
	m.create("missing", 0, policy(batchv1.ForbidConcurrent))
	m.create("years", 3*365*24*time.Hour, policy(batchv1.ForbidConcurrent))
	// The controller is half a minute late, as the clock is.
	m.jobsAre("years", "0")
	m.told("years", "TooManyMissedTimes: too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")

	m.minute(1)
	for _, name := range []string{"allow", "forbid", "replace", "soon", "good", "bad", "missing"} {
		m.jobsAre(name, "1")
	}
	replaced := m.jobName("replace", 1)
	m.eventually("the pod of "+replaced, func() bool { return len(m.jobPods(replaced)) == 1 })
	gone := m.jobName("missing", 1)
	m.delete(jobKey(gone), metav1.DeletePropagationBackground)
	m.told("missing", "MissingJob: Active job went missing: "+gone)
	m.jobsAre("missing", "")
	end := func(minute int64) {
		t.Helper()
		m.finishAll(m.jobName("good", minute), always(corev1.PodSucceeded))
		m.finishAll(m.jobName("bad", minute), always(corev1.PodFailed))
	}
	end(1)
	m.jobsAre("good", "+1")
	m.jobsAre("bad", "-1")

	m.minute(2)
	m.jobsAre("allow", "1 2")
	m.told("forbid", "JobAlreadyActive: Not starting job because prior execution is running and concurrency policy is Forbid")
	m.jobsAre("forbid", "1")
	m.jobsAre("missing", "2")
	m.jobsAre("replace", "2")
	m.told("replace", "SuccessfulDelete: Deleted job "+replaced)
	m.eventually("the pods of "+replaced+" to be gone", func() bool { return len(m.jobPods(replaced)) == 0 })
	m.jobsAre("good", "+1 2")
	first := m.jobName("good", 1)
	end(2)
	m.jobsAre("good", "+2")
	m.jobsAre("bad", "-2")
	m.told("good", "SuccessfulDelete: Deleted job "+first)
	m.eventually("the pods of "+first+" to be gone", func() bool { return len(m.jobPods(first)) == 0 })
	m.eventually("the last success", func() bool { return m.cron("good").Status.LastSuccessfulTime != nil })
	if at := m.cron("bad").Status.LastSuccessfulTime; at != nil {
		t.Errorf("a CronJob whose jobs fail has succeeded at %s", at)
	}

	// The time that the one before was in the way at is made up for.
	m.finishAll(m.jobName("forbid", 1), always(corev1.PodSucceeded))
	m.jobsAre("forbid", "+1 2")
	m.spec("suspended", func(s *batchv1.CronJobSpec) { s.Suspend = new(false) })
	m.jobsAre("suspended", "2")
	m.spec("late", deadline(45))
	m.jobsAre("late", "2")
	for _, name := range []string{"suspended", "late", "years"} {
		m.told(name, "SuccessfulCreate: Created job "+m.list(name)[0].Name)
		if made := slices.DeleteFunc(m.events("CronJob", name), func(e string) bool { return !strings.HasPrefix(e, "SuccessfulCreate") }); len(made) != 1 {
			t.Errorf("%s tells %q, want one job", name, made)
		}
	}
	for _, name := range []string{"allow", "forbid", "replace", "good", "bad"} {
		for _, e := range m.events("CronJob", name) {
			if strings.HasPrefix(e, "MissingJob") || strings.HasPrefix(e, "UnexpectedJob") {
				t.Errorf("%s tells of %s", name, e)
			}
		}
	}
}
