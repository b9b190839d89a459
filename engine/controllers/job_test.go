package controllers_test

import (
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics/legacyregistry"

	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/control"
	"headway.dev/engine/controllers/job"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

func jobKey(name string) object.Key {
	return object.Key{GroupKind: control.Job, Namespace: "default", Name: name}
}

func newJob(name string, parallelism, completions int32, edit ...func(s *batchv1.JobSpec)) *batchv1.Job {
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: batchv1.JobSpec{
			Parallelism: &parallelism, Completions: &completions,
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever,
				Containers:    []corev1.Container{{Name: "main", Image: "example/pi:1"}},
			}},
		},
	}
	for _, e := range edit {
		e(&j.Spec)
	}
	return j
}

func (c *cluster) job(name string) *batchv1.Job {
	return control.Get[batchv1.Job](c.store, jobKey(name))
}

func (c *cluster) jobPods(name string) []*corev1.Pod {
	objs, _ := c.store.List(control.Pod, "default")
	var pods []*corev1.Pod
	for _, o := range objs {
		if p := o.(*corev1.Pod); p.Labels[batchv1.JobNameLabel] == name {
			pods = append(pods, p)
		}
	}
	return pods
}

// finish ends a pod that runs, as its agent does, and reports whether it did.
func (c *cluster) finish(pod *corev1.Pod, phase corev1.PodPhase) bool {
	ended := false
	_, err := c.store.Commit(c.ctx, change.Tx{Changes: []change.Change{control.Guarded(change.PatchStatus(object.KeyOf(control.Pod, pod), func(obj object.Object) bool {
		p := obj.(*corev1.Pod)
		if ended = p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil; ended {
			p.Status.Phase = phase
		}
		return ended
	}), control.SameUID(pod.UID))}})
	if err != nil {
		c.t.Fatal(err)
	}
	return ended
}

// finishAll ends the pods of a job as they come, until it has finished.
func (c *cluster) finishAll(name string, phase func(*corev1.Pod) corev1.PodPhase) (succeeded map[types.UID]bool) {
	c.t.Helper()
	succeeded = map[types.UID]bool{}
	c.eventually("the end of "+name, func() bool {
		for _, p := range c.jobPods(name) {
			if to := phase(p); p.Status.Phase == corev1.PodRunning && c.finish(p, to) && to == corev1.PodSucceeded {
				succeeded[p.UID] = true
			}
		}
		j := c.job(name)
		return j != nil && job.Finished(j) != nil
	})
	return succeeded
}

func always(phase corev1.PodPhase) func(*corev1.Pod) corev1.PodPhase {
	return func(*corev1.Pod) corev1.PodPhase { return phase }
}

func TestJob(t *testing.T) {
	c := start(t, 1)
	t.Run("completes", func(t *testing.T) {
		c.commit(change.Create(newJob("pi", 2, 3), time.Now()))
		if n := len(c.finishAll("pi", always(corev1.PodSucceeded))); n != 3 {
			t.Errorf("%d pods succeeded, want 3", n)
		}
		j := c.job("pi")
		if s := j.Status; s.Succeeded != 3 || s.Failed != 0 || s.Active != 0 || s.CompletionTime == nil || job.Finished(j).Type != batchv1.JobComplete {
			t.Errorf("status = %+v", s)
		}
		for _, p := range c.jobPods("pi") {
			if len(p.Finalizers) > 0 || !metav1.IsControlledBy(p, j) || p.Labels["controller-uid"] != string(j.UID) {
				t.Errorf("pod %s: finalizers %v, labels %v", p.Name, p.Finalizers, p.Labels)
			}
		}
		c.eventually("the events", func() bool {
			events := c.events("Job", "pi")
			return slices.Contains(events, "Completed: Job completed") && slices.ContainsFunc(events, func(e string) bool { return e[:min(len(e), 17)] == "SuccessfulCreate:" })
		})
	})
	t.Run("fails", func(t *testing.T) {
		c.commit(change.Create(newJob("bad", 1, 1, func(s *batchv1.JobSpec) { s.BackoffLimit = new(int32(0)) }), time.Now()))
		c.finishAll("bad", always(corev1.PodFailed))
		j := c.job("bad")
		if end := job.Finished(j); end.Type != batchv1.JobFailed || end.Reason != "BackoffLimitExceeded" || j.Status.Failed != 1 {
			t.Errorf("status = %+v", j.Status)
		}
	})
	t.Run("indexed", func(t *testing.T) {
		c.commit(change.Create(newJob("each", 3, 5, func(s *batchv1.JobSpec) { s.CompletionMode = new(batchv1.IndexedCompletion) }), time.Now()))
		c.finishAll("each", always(corev1.PodSucceeded))
		if s := c.job("each").Status; s.CompletedIndexes != "0-4" || s.Succeeded != 5 {
			t.Errorf("status = %+v", s)
		}
		for _, p := range c.jobPods("each") {
			index := p.Annotations[batchv1.JobCompletionIndexAnnotation]
			env := p.Spec.Containers[0].Env
			if p.Spec.Hostname != "each-"+index || p.Labels[batchv1.JobCompletionIndexAnnotation] != index || len(env) != 1 || env[0].Name != "JOB_COMPLETION_INDEX" {
				t.Errorf("pod %s of index %s: hostname %q, labels %v, env %v", p.Name, index, p.Spec.Hostname, p.Labels, env)
			}
		}
	})
	t.Run("suspended and resumed", func(t *testing.T) {
		suspend := func(to bool) {
			c.commit(change.Patch(jobKey("wait"), func(obj object.Object) bool { obj.(*batchv1.Job).Spec.Suspend = &to; return true }))
		}
		c.commit(change.Create(newJob("wait", 2, 2), time.Now()))
		c.eventually("pods", func() bool { return len(c.jobPods("wait")) == 2 })
		suspend(true)
		c.eventually("no pods", func() bool {
			j := c.job("wait")
			return len(c.jobPods("wait")) == 0 && j.Status.StartTime == nil && j.Status.Failed == 0
		})
		suspend(false)
		c.finishAll("wait", always(corev1.PodSucceeded))
	})
	t.Run("expires", func(t *testing.T) {
		c.commit(change.Create(newJob("short", 1, 1, func(s *batchv1.JobSpec) { s.TTLSecondsAfterFinished = new(int32(1)) }), time.Now()))
		c.eventually("the job to be gone", func() bool {
			for _, p := range c.jobPods("short") {
				if p.Status.Phase == corev1.PodRunning {
					c.finish(p, corev1.PodSucceeded)
				}
			}
			return c.job("short") == nil && len(c.jobPods("short")) == 0 && slices.Contains(c.events("Job", "short"), "Completed: Job completed")
		})
	})
	t.Run("of another", func(t *testing.T) {
		c.commit(change.Create(newJob("foreign", 1, 1, func(s *batchv1.JobSpec) { s.ManagedBy = new("example.com/jobs") }), time.Now()),
			change.Create(newJob("own", 1, 1), time.Now()))
		c.finishAll("own", always(corev1.PodSucceeded))
		if s := c.job("foreign").Status; s.StartTime != nil || len(c.jobPods("foreign")) != 0 {
			t.Errorf("a job that another controller manages has the status %+v", s)
		}
	})
	t.Run("metrics", func(t *testing.T) {
		for _, want := range []string{
			"job_controller_job_sync_duration_seconds action=pods_created completion_mode=NonIndexed result=success",
			"job_controller_job_syncs_total action=tracking completion_mode=Indexed result=success",
			"job_controller_jobs_finished_total completion_mode=NonIndexed reason= result=succeeded",
			"job_controller_jobs_finished_total completion_mode=NonIndexed reason=BackoffLimitExceeded result=failed",
			"job_controller_job_pods_finished_total completion_mode=Indexed result=succeeded",
			"job_controller_job_pods_finished_total completion_mode=NonIndexed result=failed",
			"job_controller_job_pods_creation_total reason=new status=succeeded",
			"job_controller_job_finished_indexes_total backoffLimit=global status=succeeded",
			"job_controller_jobs_by_external_controller_total controller_name=example.com/jobs",
			"job_controller_terminated_pods_tracking_finalizer_total event=add",
			"job_controller_terminated_pods_tracking_finalizer_total event=delete",
		} {
			c.eventually(want, func() bool { return slices.Contains(measured(t), want) })
		}
	})
	for name, policy := range map[string]metav1.DeletionPropagation{"background": metav1.DeletePropagationBackground, "foreground": metav1.DeletePropagationForeground, "orphan": metav1.DeletePropagationOrphan} {
		t.Run("deleted, "+name, func(t *testing.T) {
			c.commit(change.Create(newJob(name, 2, 2), time.Now()))
			c.eventually("pods", func() bool { return len(c.jobPods(name)) == 2 })
			c.commit(change.Delete(jobKey(name), metav1.DeleteOptions{PropagationPolicy: &policy}, time.Now()))
			c.eventually("the end", func() bool {
				pods := c.jobPods(name)
				held := slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return len(p.Finalizers)+len(p.OwnerReferences) > 0 })
				if policy == metav1.DeletePropagationOrphan {
					return c.job(name) == nil && len(pods) == 2 && !held
				}
				return c.job(name) == nil && len(pods) == 0
			})
		})
	}
	t.Run("its namespace goes", func(t *testing.T) {
		j := newJob("pi", 1, 1)
		j.Namespace = "team"
		c.commit(change.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}, time.Now()))
		c.eventually("the account", func() bool {
			return c.store.Get(object.Key{GroupKind: control.ServiceAccount, Namespace: "team", Name: "default"}) != nil
		})
		c.commit(change.Create(j, time.Now()))
		c.eventually("a pod", func() bool { pods, _ := c.store.List(control.Pod, "team"); return len(pods) == 1 })
		c.commit(change.Delete(object.Key{GroupKind: control.Namespace, Name: "team"}, metav1.DeleteOptions{}, time.Now()))
		c.eventually("the namespace to be gone", func() bool { return c.store.Get(object.Key{GroupKind: control.Namespace, Name: "team"}) == nil })
	})
}

// measured are the names and labels of the metrics of all controllers.
func measured(t *testing.T) []string {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			line := f.GetName()
			for _, l := range m.GetLabel() {
				line += " " + l.GetName() + "=" + l.GetValue()
			}
			found = append(found, line)
		}
	}
	return found
}

// TestCronJob: a job is started when its time has come, its name says which, and one by
// hand is the CronJob's, too.
func TestCronJob(t *testing.T) {
	// The clock is a minute after the CronJob was made.
	c := start(t, 1, func(cfg *controllers.Config) { cfg.Now = func() time.Time { return time.Now().Add(time.Minute) } })
	key := object.Key{GroupKind: control.CronJob, Namespace: "default", Name: "tick"}
	c.commit(change.Create(&batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "tick"},
		Spec:       batchv1.CronJobSpec{Schedule: "* * * * *", ConcurrencyPolicy: batchv1.ForbidConcurrent, JobTemplate: batchv1.JobTemplateSpec{Spec: newJob("", 1, 1).Spec}},
	}, time.Now()))
	cron := func() *batchv1.CronJob { return control.Get[batchv1.CronJob](c.store, key) }
	c.eventually("a job", func() bool { return len(cron().Status.Active) == 1 })
	name := cron().Status.Active[0].Name
	if j := c.job(name); !metav1.IsControlledBy(j, cron()) || j.UID != cron().Status.Active[0].UID || j.Annotations[batchv1.CronJobScheduledTimestampAnnotation] == "" {
		t.Errorf("the job is %+v", j.ObjectMeta)
	}
	if !slices.Contains(measured(t), "cronjob_controller_job_creation_skew_duration_seconds") {
		t.Errorf("it is not measured how late the job is")
	}
	c.commit(change.Patch(key, func(obj object.Object) bool { obj.(*batchv1.CronJob).Spec.Suspend = new(true); return true }))
	c.finishAll(name, always(corev1.PodSucceeded))
	c.eventually("what it tells", func() bool {
		s := cron().Status
		events := c.events("CronJob", "tick")
		return len(s.Active) == 0 && s.LastSuccessfulTime != nil && slices.Contains(events, "SuccessfulCreate: Created job "+name) &&
			slices.Contains(events, "SawCompletedJob: Saw completed job: "+name+", condition: Complete")
	})
	background := metav1.DeletePropagationBackground
	c.commit(change.Delete(key, metav1.DeleteOptions{PropagationPolicy: &background}, time.Now()))
	c.eventually("its jobs and pods to be gone", func() bool { return c.job(name) == nil && len(c.jobPods(name)) == 0 })
}
