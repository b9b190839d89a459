package job

import (
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/object"
)

const subsystem = "job_controller"

// The metrics are Kubernetes'.
var (
	syncSeconds = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Subsystem: subsystem, Name: "job_sync_duration_seconds", Help: "The time it took to sync a job",
		StabilityLevel: metrics.STABLE, Buckets: metrics.ExponentialBuckets(0.004, 2, 15),
	}, []string{"completion_mode", "result", "action"})
	syncs         = counter("job_syncs_total", "The number of job syncs", metrics.STABLE, "completion_mode", "result", "action")
	jobsFinished  = counter("jobs_finished_total", "The number of finished jobs", metrics.STABLE, "completion_mode", "result", "reason")
	podsFinished  = counter("job_pods_finished_total", "The number of finished Pods that are fully tracked", metrics.STABLE, "completion_mode", "result")
	externalJobs  = counter("jobs_by_external_controller_total", "The number of Jobs managed by an external controller", metrics.ALPHA, "controller_name")
	policyActions = counter("pod_failures_handled_by_failure_policy_total", "The number of failed Pods handled by failure policy with respect to the failure policy action applied based on the matched rule. "+
		"Possible values of the action label correspond to the possible values for the failure policy rule action, which are: \"FailJob\", \"Ignore\" and \"Count\".", metrics.ALPHA, "action")
	tracking = counter("terminated_pods_tracking_finalizer_total", "The number of terminated pods (phase=Failed|Succeeded) that have the finalizer batch.kubernetes.io/job-tracking. "+
		"The event label can be \"add\" or \"delete\".", metrics.ALPHA, "event")
	indexesFinished = counter("job_finished_indexes_total", "The number of finished indexes. Possible values for the status label are: \"succeeded\", \"failed\". "+
		"Possible values for the backoffLimit label are: \"perIndex\" and \"global\"", metrics.ALPHA, "status", "backoffLimit")
	podsCreated = counter("job_pods_creation_total", "The number of Pods created by the Job controller labelled with a reason for the Pod creation. "+
		"This metric also distinguishes between Pods created using different PodReplacementPolicy settings. Possible values of the \"reason\" label are: \"new\", "+
		"\"recreate_terminating_or_failed\", \"recreate_failed\". Possible values of the \"status\" label are: \"succeeded\", \"failed\".", metrics.ALPHA, "reason", "status")
)

func counter(name, help string, level metrics.StabilityLevel, labels ...string) *metrics.CounterVec {
	return metrics.NewCounterVec(&metrics.CounterOpts{Subsystem: subsystem, Name: name, Help: help, StabilityLevel: level}, labels)
}

var register = sync.OnceFunc(func() {
	legacyregistry.MustRegister(syncSeconds, syncs, jobsFinished, podsFinished, externalJobs, policyActions, tracking, indexesFinished, podsCreated)
})

func modeOf(job *batchv1.Job) string {
	return string(ptr.Deref(job.Spec.CompletionMode, batchv1.NonIndexedCompletion))
}

// observe counts what an event tells of: jobs of others, and pods that ended and wait to
// be counted.
func observe(ev object.Event) {
	if job, ok := ev.Object.(*batchv1.Job); ok {
		if by := ptr.Deref(job.Spec.ManagedBy, batchv1.JobControllerName); ev.Type == object.Added && by != batchv1.JobControllerName {
			externalJobs.WithLabelValues(by).Inc()
		}
		return
	}
	waits := func(obj object.Object) bool {
		pod, ok := obj.(*corev1.Pod)
		return ok && control.Terminal(pod) && tracked(pod)
	}
	before, after := waits(ev.Old), ev.Type != object.Deleted && waits(ev.Object)
	switch {
	case after && !before:
		tracking.WithLabelValues("add").Inc()
	case before && !after:
		tracking.WithLabelValues("delete").Inc()
	}
}

// synced counts a look at a job.
func synced(job *batchv1.Job, plan Plan, took time.Duration, err error) {
	action, result := "reconciling", "success"
	switch {
	case len(plan.Create) > 0:
		action = "pods_created"
	case len(plan.Delete) > 0:
		action = "pods_deleted"
	case len(plan.Release) > 0:
		action = "tracking"
	}
	if err != nil {
		result = "error"
	}
	syncSeconds.WithLabelValues(modeOf(job), result, action).Observe(took.Seconds())
	syncs.WithLabelValues(modeOf(job), result, action).Inc()
}

// written counts what a plan that was written has done.
func written(job *batchv1.Job, plan Plan) {
	mode, was, is := modeOf(job), &job.Status, &plan.Status
	add := func(to *metrics.CounterVec, n int, labels ...string) {
		if n > 0 {
			to.WithLabelValues(labels...).Add(float64(n))
		}
	}
	add(podsFinished, int(is.Succeeded-was.Succeeded), mode, "succeeded")
	add(podsFinished, int(is.Failed-was.Failed), mode, "failed")
	add(podsCreated, len(plan.Create), whyCreated(job, is), "succeeded")
	for _, pod := range plan.Release {
		if pod.Status.Phase != corev1.PodFailed || !tracked(pod) {
			continue
		}
		if action := judge(job.Spec.PodFailurePolicy, pod).action; action != "" {
			policyActions.WithLabelValues(string(action)).Inc()
		}
	}
	if n := int(ptr.Deref(job.Spec.Completions, 0)); mode == string(batchv1.IndexedCompletion) {
		limit := "global"
		if job.Spec.BackoffLimitPerIndex != nil {
			limit = "perIndex"
		}
		more := func(was, is string) int { return parseIndexes(is, n).total() - parseIndexes(was, n).total() }
		add(indexesFinished, more(was.CompletedIndexes, is.CompletedIndexes), "succeeded", limit)
		add(indexesFinished, more(ptr.Deref(was.FailedIndexes, ""), ptr.Deref(is.FailedIndexes, "")), "failed", limit)
	}
	switch end := Finished(&batchv1.Job{Status: *is}); {
	case end == nil:
	case end.Type == batchv1.JobComplete:
		jobsFinished.WithLabelValues(mode, "succeeded", "").Inc()
	default:
		jobsFinished.WithLabelValues(mode, "failed", end.Reason).Inc()
	}
}

// whyCreated is the reason for which pods are made.
func whyCreated(job *batchv1.Job, s *batchv1.JobStatus) string {
	switch {
	case ptr.Deref(job.Spec.PodReplacementPolicy, batchv1.TerminatingOrFailed) == batchv1.Failed:
		if s.Failed > 0 {
			return "recreate_failed"
		}
	case s.Failed > 0 || ptr.Deref(s.Terminating, 0) > 0:
		return "recreate_terminating_or_failed"
	}
	return "new"
}
