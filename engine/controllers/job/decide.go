package job

import (
	"cmp"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/loop"
)

// burst bounds how many pods one transaction creates, and how many it counts.
const burst = 500

// Creation is a pod to be made.
type Creation struct {
	// Index is the pod's completion index, or unknown.
	Index int
	// Failed and Ignored are how often the index's pods have failed before, by whether
	// the podFailurePolicy counts it.
	Failed, Ignored int
}

// Event is what there is to tell about a job.
type Event struct{ Type, Reason, Message string }

// Plan is what has to be done with a job, all of it at once.
type Plan struct {
	// Status is the job's with all of the plan done.
	Status batchv1.JobStatus
	// Release are the pods that lose the finalizer: they are counted in Status, or
	// nothing depends on them any more.
	Release []*corev1.Pod
	// Delete are the surplus pods; those that are not to be counted are in Release, too.
	Delete []*corev1.Pod
	Create []Creation
	Events []Event
	// Backoff is that of the job once the plan is done.
	Backoff Backoff
	// After is when to look again without an event (0: never).
	After time.Duration
}

// decision is a plan in the making.
type decision struct {
	Plan
	job  *batchv1.Job
	pods []*corev1.Pod
	now  time.Time
	// active are the pods that run or will, terminating those that are being deleted.
	active, terminating []*corev1.Pod
	// counted are the pods that status.uncountedTerminatedPods has.
	counted map[types.UID]bool
	// succeeded and failed are how many pods ended so.
	succeeded, failed int
	// done and broken are the indexes that succeeded and failed, kept the failed pods
	// that wait for the next pod of their index.
	done, broken indexes
	kept         map[int]*corev1.Pod
	// released are the pods of Release.
	released map[*corev1.Pod]bool
	// hold makes no pods.
	hold bool
	// end is the condition with which the job ends.
	end *batchv1.JobCondition
}

// Decide compares a job that has not finished with the pods that it owns.
func Decide(job *batchv1.Job, pods []*corev1.Pod, backoff Backoff, now time.Time) Plan {
	return decide(&decision{job: job, pods: slices.Clone(pods), now: now}, backoff)
}

// decideWithout is Decide where no pods can be made: those stay that the next ones of
// their indexes have to know of.
func decideWithout(job *batchv1.Job, pods []*corev1.Pod, backoff Backoff, now time.Time) Plan {
	return decide(&decision{job: job, pods: slices.Clone(pods), now: now, hold: true}, backoff)
}

func decide(d *decision, backoff Backoff) Plan {
	d.counted, d.released = map[types.UID]bool{}, map[*corev1.Pod]bool{}
	job := d.job
	slices.SortStableFunc(d.pods, func(a, b *corev1.Pod) int { return cmp.Compare(indexOf(a), indexOf(b)) })
	job.Status.DeepCopyInto(&d.Status)
	d.Backoff = backoff
	d.look()
	if d.Status.StartTime == nil && !d.suspended() {
		d.Status.StartTime = d.stamp()
	}
	d.ending()
	if d.end != nil {
		d.Delete = d.active[:min(len(d.active), burst)]
		d.terminate(d.Delete)
	} else {
		if job.DeletionTimestamp == nil {
			d.manage()
		}
		d.complete()
	}
	d.count()
	d.finish()
	d.Status.Active = int32(len(d.active) + len(d.Create))
	ready := int32(0)
	for _, pod := range d.active {
		if control.Ready(pod) {
			ready++
		}
	}
	d.Status.Ready, d.Status.Terminating = &ready, new(int32(len(d.terminating)))
	return d.Plan
}

// look sorts the pods and counts them.
func (d *decision) look() {
	s := &d.Status
	if s.UncountedTerminatedPods == nil {
		s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	for _, uid := range slices.Concat(s.UncountedTerminatedPods.Succeeded, s.UncountedTerminatedPods.Failed) {
		d.counted[uid] = true
	}
	s.Succeeded += int32(len(s.UncountedTerminatedPods.Succeeded))
	s.Failed += int32(len(s.UncountedTerminatedPods.Failed))
	*s.UncountedTerminatedPods = batchv1.UncountedTerminatedPods{}
	d.succeeded, d.failed = int(s.Succeeded), int(s.Failed)
	var good, bad []*corev1.Pod
	for _, pod := range d.pods {
		switch {
		case control.Active(pod):
			d.active = append(d.active, pod)
		case !control.Terminal(pod):
			d.terminating = append(d.terminating, pod)
		}
		switch {
		case !d.news(pod):
		case pod.Status.Phase == corev1.PodSucceeded:
			good = append(good, pod)
			d.succeeded++
		case d.hasFailed(pod):
			bad = append(bad, pod)
			if judge(d.job.Spec.PodFailurePolicy, pod).counts() {
				d.failed++
			}
		}
	}
	d.Backoff = d.Backoff.after(good, bad)
	if d.indexed() {
		d.lookAtIndexes()
	}
}

// news reports whether a pod has to be counted once it has ended.
func (d *decision) news(pod *corev1.Pod) bool {
	return tracked(pod) && !d.counted[pod.UID] && d.valid(pod)
}

// valid reports whether a pod has an index of the job, if it is an indexed one.
func (d *decision) valid(pod *corev1.Pod) bool {
	index := indexOf(pod)
	return !d.indexed() || index != unknown && index < d.completions()
}

// hasFailed reports whether a pod is replaced. One that is being deleted may never
// reach a phase, which a job that replaces failed pods only waits for.
func (d *decision) hasFailed(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodFailed {
		return true
	}
	return pod.DeletionTimestamp != nil && pod.Status.Phase != corev1.PodSucceeded && !d.replacesFailedOnly()
}

// lookAtIndexes finds which indexes have succeeded, have failed for good, and which
// failed pods have to stay until the next pod of their index knows of them.
func (d *decision) lookAtIndexes() {
	s, n := &d.job.Status, d.completions()
	perIndex := d.job.Spec.BackoffLimitPerIndex != nil
	if perIndex && s.FailedIndexes != nil {
		d.broken = parseIndexes(*s.FailedIndexes, n)
	}
	d.done = parseIndexes(s.CompletedIndexes, n)
	running := map[int]bool{}
	for _, pod := range d.pods {
		index := indexOf(pod)
		if pod.Status.Phase == corev1.PodSucceeded && d.news(pod) && !d.broken.has(index) {
			d.done = d.done.with(index)
		}
		if control.Active(pod) {
			running[index] = true
		}
	}
	d.succeeded = d.done.total()
	if !perIndex {
		return
	}
	for _, pod := range d.pods {
		if index := indexOf(pod); d.valid(pod) && d.hasFailed(pod) && !d.done.has(index) && d.failsIndex(pod) {
			d.broken = d.broken.with(index)
		}
	}
	d.kept = map[int]*corev1.Pod{}
	for _, pod := range d.pods {
		index := indexOf(pod)
		if !d.news(pod) || !d.hasFailed(pod) || d.done.has(index) || d.broken.has(index) || running[index] {
			continue
		}
		if last := d.kept[index]; last == nil || attempts(last) <= attempts(pod) && !endOf(pod).Before(endOf(last)) {
			d.kept[index] = pod
		}
	}
}

// failsIndex reports whether no pod of the index of a failed pod is tried after it.
func (d *decision) failsIndex(pod *corev1.Pod) bool {
	verdict := judge(d.job.Spec.PodFailurePolicy, pod)
	if verdict.action == batchv1.PodFailurePolicyActionFailIndex {
		return true
	}
	counted, _ := failuresBefore(pod)
	return verdict.counts() && counted >= int(*d.job.Spec.BackoffLimitPerIndex)
}

func attempts(pod *corev1.Pod) int {
	counted, ignored := failuresBefore(pod)
	return counted + ignored
}

// ending finds out whether the job ends, whatever its pods do from here on.
func (d *decision) ending() {
	spec := &d.job.Spec
	if c := find(d.job.Status.Conditions, batchv1.JobSuccessCriteriaMet); c != nil {
		d.end = c
		return
	}
	if c := find(d.job.Status.Conditions, batchv1.JobFailureTarget); c != nil {
		d.end = c
		return
	}
	if spec.PodFailurePolicy != nil {
		for _, pod := range d.pods {
			if d.hasFailed(pod) {
				if why := judge(spec.PodFailurePolicy, pod).why; why != "" {
					d.endWith(batchv1.JobFailureTarget, batchv1.JobReasonPodFailurePolicy, why)
					return
				}
			}
		}
	}
	limit := int(ptr.Deref(spec.BackoffLimit, 6))
	if d.failed > limit || d.restartsTooOften(limit) {
		d.endWith(batchv1.JobFailureTarget, batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
		return
	}
	if spec.ActiveDeadlineSeconds != nil && d.Status.StartTime != nil && !d.suspended() {
		left := d.Status.StartTime.Add(loop.Seconds(*spec.ActiveDeadlineSeconds)).Sub(d.now)
		if left <= 0 {
			d.endWith(batchv1.JobFailureTarget, batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
			return
		}
		d.lookAfter(left)
	}
	if !d.indexed() {
		return
	}
	if failed := d.broken.total(); spec.MaxFailedIndexes != nil && failed > int(*spec.MaxFailedIndexes) {
		d.endWith(batchv1.JobFailureTarget, batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
		return
	} else if failed > 0 && failed+d.done.total() >= d.completions() {
		d.endWith(batchv1.JobFailureTarget, batchv1.JobReasonFailedIndexes, "Job has failed indexes")
		return
	}
	if why, met := succeeds(spec.SuccessPolicy, d.done, d.completions()); met {
		d.endWith(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonSuccessPolicy, why)
	}
}

// restartsTooOften is the limit for pods that restart their containers themselves.
func (d *decision) restartsTooOften(limit int) bool {
	if d.job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	restarts := 0
	for _, pod := range d.pods {
		if control.Terminal(pod) {
			continue
		}
		for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			restarts += int(s.RestartCount)
		}
	}
	return restarts >= max(limit, 1)
}

// complete ends a job that has all that it asks for, or notes whether it is suspended.
func (d *decision) complete() {
	active := len(d.active) + len(d.Create)
	enough := d.succeeded > 0
	if d.job.Spec.Completions != nil {
		enough = d.succeeded >= d.completions()
	}
	if enough && active == 0 {
		d.endWith(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
		return
	}
	if d.job.DeletionTimestamp != nil {
		return
	}
	if d.suspended() {
		if d.condition(batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended") {
			d.Status.StartTime = nil
			d.tell(corev1.EventTypeNormal, "Suspended", "Job suspended")
		}
		return
	}
	if d.condition(batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed") {
		if d.job.Status.StartTime == nil {
			d.Status.StartTime = d.stamp()
		}
		d.tell(corev1.EventTypeNormal, "Resumed", "Job resumed")
	}
}

// count lets the pods go that have ended, and counts them.
func (d *decision) count() {
	failing := d.end != nil && d.end.Type == batchv1.JobFailureTarget
	done := indexes(nil)
	if d.indexed() {
		done = parseIndexes(d.job.Status.CompletedIndexes, d.completions())
	}
	for _, pod := range d.pods {
		if !tracked(pod) || d.released[pod] || !d.over(pod) {
			continue
		}
		if len(d.Release) >= burst {
			break // the rest follows when this is written
		}
		d.release(pod)
		switch {
		case !d.news(pod):
		case pod.Status.Phase == corev1.PodSucceeded:
			d.Status.Succeeded++
			if index := indexOf(pod); d.done.has(index) {
				done = done.with(index)
			}
		case (d.hasFailed(pod) || failing) && judge(d.job.Spec.PodFailurePolicy, pod).counts():
			d.Status.Failed++
		}
	}
	if d.indexed() {
		d.Status.CompletedIndexes, d.Status.Succeeded = done.String(), int32(done.total())
		if d.job.Spec.BackoffLimitPerIndex != nil {
			d.Status.FailedIndexes = new(d.broken.String())
		}
	}
}

func (d *decision) release(pod *corev1.Pod) {
	d.Release = append(d.Release, pod)
	d.released[pod] = true
}

// over reports whether nothing depends on a pod any more once it is counted.
func (d *decision) over(pod *corev1.Pod) bool {
	if d.job.DeletionTimestamp != nil || d.end != nil || pod.Status.Phase == corev1.PodSucceeded {
		return true
	}
	return d.hasFailed(pod) && d.kept[indexOf(pod)] != pod
}

// finish adds the conditions with which the job ends: the last one when all pods are
// gone and counted.
func (d *decision) finish() {
	if d.end == nil {
		return
	}
	if find(d.Status.Conditions, d.end.Type) == nil {
		d.Status.Conditions = append(d.Status.Conditions, *d.end)
	}
	left := slices.ContainsFunc(d.pods, func(pod *corev1.Pod) bool { return tracked(pod) && !d.released[pod] })
	if left || len(d.active)+len(d.terminating) > 0 {
		return
	}
	if d.Status.StartTime == nil {
		d.Status.StartTime = d.stamp()
	}
	if d.end.Type == batchv1.JobFailureTarget {
		d.condition(batchv1.JobFailed, corev1.ConditionTrue, d.end.Reason, d.end.Message)
		d.tell(corev1.EventTypeWarning, d.end.Reason, d.end.Message)
		return
	}
	d.condition(batchv1.JobComplete, corev1.ConditionTrue, d.end.Reason, d.end.Message)
	d.Status.CompletionTime = d.stamp()
	if d.Status.CompletionTime.Before(d.Status.StartTime) {
		d.Status.CompletionTime = d.Status.StartTime.DeepCopy() // the clock was set back
	}
	if d.job.Spec.Completions != nil && int(d.Status.Succeeded) > d.completions() {
		d.tell(corev1.EventTypeWarning, "TooManySucceededPods", "Too many succeeded pods running after completion count reached")
	}
	d.tell(corev1.EventTypeNormal, "Completed", "Job completed")
}

func (d *decision) endWith(t batchv1.JobConditionType, reason, message string) {
	d.end = d.newCondition(t, corev1.ConditionTrue, reason, message)
}

// condition sets a condition, and reports whether it was another. What is not there is
// not false for the first time.
func (d *decision) condition(t batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string) bool {
	next := d.newCondition(t, status, reason, message)
	for i, c := range d.Status.Conditions {
		if c.Type != t {
			continue
		}
		if c.Status == status && c.Reason == reason && c.Message == message {
			return false
		}
		d.Status.Conditions[i] = *next
		return true
	}
	if status == corev1.ConditionFalse {
		return false
	}
	d.Status.Conditions = append(d.Status.Conditions, *next)
	return true
}

func (d *decision) newCondition(t batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string) *batchv1.JobCondition {
	return &batchv1.JobCondition{Type: t, Status: status, LastProbeTime: *d.stamp(), LastTransitionTime: *d.stamp(), Reason: reason, Message: message}
}

func (d *decision) tell(kind, reason, message string) {
	d.Events = append(d.Events, Event{kind, reason, message})
}

func (d *decision) lookAfter(wait time.Duration) {
	if wait > 0 && (d.After == 0 || wait < d.After) {
		d.After = wait
	}
}

// stamp is now as it is stored.
func (d *decision) stamp() *metav1.Time { return new(metav1.NewTime(d.now).Rfc3339Copy()) }

func (d *decision) suspended() bool { return ptr.Deref(d.job.Spec.Suspend, false) }

func (d *decision) indexed() bool {
	return ptr.Deref(d.job.Spec.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion
}

func (d *decision) completions() int { return int(ptr.Deref(d.job.Spec.Completions, 0)) }

func (d *decision) replacesFailedOnly() bool {
	return ptr.Deref(d.job.Spec.PodReplacementPolicy, batchv1.TerminatingOrFailed) == batchv1.Failed
}

// find returns a condition that is true, or nil.
func find(conditions []batchv1.JobCondition, t batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range conditions {
		if conditions[i].Type == t && conditions[i].Status == corev1.ConditionTrue {
			return &conditions[i]
		}
	}
	return nil
}

// Finished returns the condition with which a job has ended, nil if it has not.
func Finished(job *batchv1.Job) *batchv1.JobCondition {
	if c := find(job.Status.Conditions, batchv1.JobComplete); c != nil {
		return c
	}
	return find(job.Status.Conditions, batchv1.JobFailed)
}
