package batch

import (
	"fmt"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
)

// jobHealth is Current once the job has ended well, and InProgress before, so that
// who waits for a commit waits for its jobs; kstatus calls a job Current that has
// begun.
func jobHealth(j *batchv1.Job, reader object.Reader) health.Result {
	if is(j, batchv1.JobComplete) {
		return health.Result{Status: health.Current, Message: fmt.Sprintf("Job Completed. succeeded: %d/%s", j.Status.Succeeded, wanted(j))}
	}
	if is(j, batchv1.JobSuspended) && ptr.Deref(j.Spec.Suspend, false) {
		return health.Result{Status: health.Current, Message: "Job is suspended"}
	}
	for _, c := range j.Status.Conditions {
		if failed := c.Type == batchv1.JobFailed || c.Type == batchv1.JobFailureTarget; !failed || c.Status != corev1.ConditionTrue {
			continue
		}
		message := fmt.Sprintf("Job Failed. failed: %d/%s", j.Status.Failed, wanted(j))
		if c.Message != "" {
			message += "; " + c.Reason + ": " + c.Message
		}
		return health.Result{Status: health.Failed, Message: because(message, j, reader)}
	}
	if ptr.Deref(j.Spec.Suspend, false) {
		return health.Result{Status: health.InProgress, Message: "Job is being suspended"}
	}
	if j.Status.StartTime == nil {
		return health.Result{Status: health.InProgress, Message: "Job not started"}
	}
	message := fmt.Sprintf("Job in progress. success:%d, active: %d, failed: %d", j.Status.Succeeded, j.Status.Active, j.Status.Failed)
	return health.Result{Status: health.InProgress, Message: because(message, j, reader)}
}

func because(message string, j *batchv1.Job, reader object.Reader) string {
	if why := health.WhyPods(j, reader); why != "" {
		return message + "; " + why
	}
	return message
}

// wanted is how many successes the job asks for.
func wanted(j *batchv1.Job) string {
	if j.Spec.Completions == nil {
		return strconv.Itoa(int(ptr.Deref(j.Spec.Parallelism, 1)))
	}
	return strconv.Itoa(int(*j.Spec.Completions))
}
