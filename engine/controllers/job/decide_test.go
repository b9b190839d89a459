package job_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/job"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newJob(edit ...func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "pi", UID: "job"},
		Spec: batchv1.JobSpec{
			Parallelism: new(int32(2)), Completions: new(int32(3)), BackoffLimit: new(int32(6)),
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever}},
		},
	}
	for _, e := range edit {
		e(j)
	}
	return j
}

type of = func(*batchv1.Job)

func spec(edit func(s *batchv1.JobSpec)) of { return func(j *batchv1.Job) { edit(&j.Spec) } }

func status(edit func(s *batchv1.JobStatus)) of { return func(j *batchv1.Job) { edit(&j.Status) } }

func indexed(j *batchv1.Job) { j.Spec.CompletionMode = new(batchv1.IndexedCompletion) }

func perIndex(limit int32) of {
	return func(j *batchv1.Job) {
		indexed(j)
		j.Spec.BackoffLimitPerIndex, j.Spec.BackoffLimit = &limit, new(int32(1000))
	}
}

// started a minute ago.
func started(j *batchv1.Job) { j.Status.StartTime = new(metav1.NewTime(now.Add(-time.Minute))) }

// pod is a running one whose name may end with its index, as in "a.3".
func pod(name string, edit ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			Finalizers: []string{batchv1.JobTrackingFinalizer}, Annotations: map[string]string{},
		},
		Spec:   corev1.PodSpec{NodeName: "a"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	if _, index, ok := strings.Cut(name, "."); ok {
		p.Annotations[batchv1.JobCompletionIndexAnnotation] = index
	}
	for _, e := range edit {
		e(p)
	}
	return p
}

func ended(phase corev1.PodPhase, code int32, ago time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Phase = phase
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "pi", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: code, FinishedAt: metav1.NewTime(now.Add(-ago)),
		}}}}
	}
}

func succeeded(p *corev1.Pod) { ended(corev1.PodSucceeded, 0, time.Hour)(p) }

func failed(p *corev1.Pod) { ended(corev1.PodFailed, 1, time.Hour)(p) }

func deleted(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.NewTime(now.Add(-time.Hour))) }

func free(p *corev1.Pod) { p.Finalizers = nil }

func after(failures string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations[batchv1.JobIndexFailureCountAnnotation] = failures }
}

// told is a plan in one line.
func told(p job.Plan) string {
	names := func(list []*corev1.Pod) string {
		var all []string
		for _, pod := range list {
			all = append(all, pod.Name)
		}
		return strings.Join(all, " ")
	}
	s := p.Status
	text := fmt.Sprintf("active %d, ready %d, terminating %d, succeeded %d, failed %d", s.Active, *s.Ready, *s.Terminating, s.Succeeded, s.Failed)
	add := func(what, value string) {
		if value != "" {
			text += "; " + what + " " + value
		}
	}
	add("completed", s.CompletedIndexes)
	if s.FailedIndexes != nil {
		add("broken", "["+*s.FailedIndexes+"]")
	}
	add("release", names(p.Release))
	add("delete", names(p.Delete))
	var creations []string
	for _, c := range p.Create {
		one := "any"
		if c.Index >= 0 {
			one = fmt.Sprint(c.Index)
		}
		if c.Failed+c.Ignored > 0 {
			one += fmt.Sprintf("(%d failed, %d ignored)", c.Failed, c.Ignored)
		}
		creations = append(creations, one)
	}
	add("create", strings.Join(creations, " "))
	for _, c := range s.Conditions {
		add(string(c.Type), strings.TrimSuffix(fmt.Sprintf("%s %s", c.Status, c.Reason), " "))
	}
	for _, e := range p.Events {
		add("event", e.Reason)
	}
	if p.After > 0 {
		add("after", p.After.String())
	}
	return text
}

func TestDecide(t *testing.T) {
	const complete = "; SuccessCriteriaMet True CompletionsReached; Complete True CompletionsReached; event Completed"
	policy := func(rules ...batchv1.PodFailurePolicyRule) of {
		return spec(func(s *batchv1.JobSpec) {
			s.PodFailurePolicy, s.PodReplacementPolicy = &batchv1.PodFailurePolicy{Rules: rules}, new(batchv1.Failed)
		})
	}
	on := func(action batchv1.PodFailurePolicyAction, code int32) batchv1.PodFailurePolicyRule {
		return batchv1.PodFailurePolicyRule{Action: action, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: "In", Values: []int32{code}}}
	}
	wins := func(r batchv1.SuccessPolicyRule) of {
		return spec(func(s *batchv1.JobSpec) {
			s.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{r}}
		})
	}
	exit := func(code int32) func(*corev1.Pod) { return ended(corev1.PodFailed, code, time.Hour) }
	for name, tc := range map[string]struct {
		job  *batchv1.Job
		pods []*corev1.Pod
		want string
	}{
		"new":            {newJob(), nil, "active 2, ready 0, terminating 0, succeeded 0, failed 0; create any any"},
		"enough":         {newJob(), []*corev1.Pod{pod("a"), pod("b")}, "active 2, ready 0, terminating 0, succeeded 0, failed 0"},
		"too many":       {newJob(), []*corev1.Pod{pod("a"), pod("b"), pod("c", func(p *corev1.Pod) { p.Spec.NodeName = "" })}, "active 2, ready 0, terminating 1, succeeded 0, failed 0; release c; delete c"},
		"the last":       {newJob(status(func(s *batchv1.JobStatus) { s.Succeeded = 2 })), []*corev1.Pod{pod("a")}, "active 1, ready 0, terminating 0, succeeded 2, failed 0"},
		"succeeded":      {newJob(), []*corev1.Pod{pod("a", succeeded), pod("b")}, "active 2, ready 0, terminating 0, succeeded 1, failed 0; release a; create any"},
		"complete":       {newJob(status(func(s *batchv1.JobStatus) { s.Succeeded = 2 })), []*corev1.Pod{pod("a", succeeded)}, "active 0, ready 0, terminating 0, succeeded 3, failed 0; release a" + complete},
		"counted before": {newJob(status(func(s *batchv1.JobStatus) { s.Succeeded = 1 })), []*corev1.Pod{pod("a", succeeded, free), pod("b"), pod("c")}, "active 2, ready 0, terminating 0, succeeded 1, failed 0"},
		"uncounted by another": {newJob(status(func(s *batchv1.JobStatus) {
			s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{Succeeded: []types.UID{"a", "gone"}, Failed: []types.UID{"b"}}
		})), []*corev1.Pod{pod("a", succeeded), pod("b", failed), pod("c")}, "active 1, ready 0, terminating 0, succeeded 2, failed 1; release a b"},
		"one is enough":       {newJob(spec(func(s *batchv1.JobSpec) { s.Completions = nil })), []*corev1.Pod{pod("a", succeeded), pod("b")}, "active 1, ready 0, terminating 0, succeeded 1, failed 0; release a"},
		"one was enough":      {newJob(spec(func(s *batchv1.JobSpec) { s.Completions = nil })), []*corev1.Pod{pod("a", succeeded), pod("b", failed)}, "active 0, ready 0, terminating 0, succeeded 1, failed 1; release a b" + complete},
		"nothing to do":       {newJob(spec(func(s *batchv1.JobSpec) { s.Completions = new(int32(0)) })), nil, "active 0, ready 0, terminating 0, succeeded 0, failed 0" + complete},
		"failed":              {newJob(), []*corev1.Pod{pod("a", failed)}, "active 2, ready 0, terminating 0, succeeded 0, failed 1; release a; create any any"},
		"failed just now":     {newJob(), []*corev1.Pod{pod("a", ended(corev1.PodFailed, 1, 4*time.Second)), pod("b")}, "active 1, ready 0, terminating 0, succeeded 0, failed 1; release a; after 6s"},
		"deleted by somebody": {newJob(), []*corev1.Pod{pod("a", deleted), pod("b")}, "active 2, ready 0, terminating 1, succeeded 0, failed 1; release a; create any"},
		"replaced when gone":  {newJob(spec(func(s *batchv1.JobSpec) { s.PodReplacementPolicy = new(batchv1.Failed) })), []*corev1.Pod{pod("a", deleted), pod("b")}, "active 1, ready 0, terminating 1, succeeded 0, failed 0"},
		"too often": {
			newJob(spec(func(s *batchv1.JobSpec) { s.BackoffLimit = new(int32(0)) })),
			[]*corev1.Pod{pod("a", failed), pod("b")},
			"active 0, ready 0, terminating 1, succeeded 0, failed 2; release a b; delete b; FailureTarget True BackoffLimitExceeded",
		},
		"too often, and all are gone": {
			newJob(spec(func(s *batchv1.JobSpec) { s.BackoffLimit = new(int32(0)) })),
			[]*corev1.Pod{pod("a", failed)},
			"active 0, ready 0, terminating 0, succeeded 0, failed 1; release a; FailureTarget True BackoffLimitExceeded; Failed True BackoffLimitExceeded; event BackoffLimitExceeded",
		},
		"restarts": {
			newJob(spec(func(s *batchv1.JobSpec) {
				s.BackoffLimit, s.Template.Spec.RestartPolicy = new(int32(2)), corev1.RestartPolicyOnFailure
			})),
			[]*corev1.Pod{pod("a", func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 2}} })},
			"active 0, ready 0, terminating 1, succeeded 0, failed 1; release a; delete a; FailureTarget True BackoffLimitExceeded",
		},
		"deadline ahead": {newJob(started, spec(func(s *batchv1.JobSpec) { s.ActiveDeadlineSeconds = new(int64(90)) })), []*corev1.Pod{pod("a"), pod("b")}, "active 2, ready 0, terminating 0, succeeded 0, failed 0; after 30s"},
		"deadline never": {newJob(started, spec(func(s *batchv1.JobSpec) { s.ActiveDeadlineSeconds = new(int64(10_000_000_000)) })), []*corev1.Pod{pod("a"), pod("b")}, "active 2, ready 0, terminating 0, succeeded 0, failed 0; after 2562047h46m16s"},
		"deadline": {
			newJob(started, spec(func(s *batchv1.JobSpec) { s.ActiveDeadlineSeconds = new(int64(60)) })),
			[]*corev1.Pod{pod("a")},
			"active 0, ready 0, terminating 1, succeeded 0, failed 1; release a; delete a; FailureTarget True DeadlineExceeded",
		},
		"suspended": {
			newJob(started, spec(func(s *batchv1.JobSpec) { s.Suspend = new(true) })),
			[]*corev1.Pod{pod("a")},
			"active 0, ready 0, terminating 1, succeeded 0, failed 0; release a; delete a; Suspended True JobSuspended; event Suspended",
		},
		"resumed": {newJob(status(func(s *batchv1.JobStatus) {
			s.Conditions = []batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionTrue, Reason: "JobSuspended"}}
		})), nil, "active 2, ready 0, terminating 0, succeeded 0, failed 0; create any any; Suspended False JobResumed; event Resumed"},
		"going": {newJob(func(j *batchv1.Job) { j.DeletionTimestamp = new(metav1.NewTime(now)) }), []*corev1.Pod{pod("a")}, "active 1, ready 0, terminating 0, succeeded 0, failed 0; release a"},

		"indexed":            {newJob(indexed), []*corev1.Pod{pod("a.1")}, "active 2, ready 0, terminating 0, succeeded 0, failed 0; create 0"},
		"an index succeeded": {newJob(indexed), []*corev1.Pod{pod("a.0", succeeded), pod("b.1")}, "active 2, ready 0, terminating 0, succeeded 1, failed 0; completed 0; release a.0; create 2"},
		"indexes complete": {
			newJob(indexed, status(func(s *batchv1.JobStatus) { s.CompletedIndexes, s.Succeeded = "0,1", 2 })),
			[]*corev1.Pod{pod("a.2", succeeded)},
			"active 0, ready 0, terminating 0, succeeded 3, failed 0; completed 0-2; release a.2" + complete,
		},
		"an index twice": {
			newJob(indexed),
			[]*corev1.Pod{pod("a.0"), pod("b.0", func(p *corev1.Pod) { p.Spec.NodeName = "" }), pod("c.1")},
			"active 2, ready 0, terminating 1, succeeded 0, failed 0; release b.0; delete b.0",
		},
		"fewer indexes": {
			newJob(indexed, spec(func(s *batchv1.JobSpec) { s.Completions = new(int32(2)) }), status(func(s *batchv1.JobStatus) { s.CompletedIndexes, s.Succeeded = "0,2", 2 })),
			[]*corev1.Pod{pod("a.1"), pod("b.3")},
			"active 1, ready 0, terminating 1, succeeded 1, failed 0; completed 0; release b.3; delete b.3",
		},
		"an index fails, and is tried again": {
			newJob(perIndex(1)),
			[]*corev1.Pod{pod("a.0", failed), pod("b.1")},
			"active 2, ready 0, terminating 0, succeeded 0, failed 1; broken []; release a.0; create 0(1 failed, 0 ignored)",
		},
		"an index waits": {
			newJob(perIndex(1)),
			[]*corev1.Pod{pod("a.0", ended(corev1.PodFailed, 1, time.Second)), pod("b.1")},
			"active 1, ready 0, terminating 0, succeeded 0, failed 0; broken []; after 9s",
		},
		"an index has failed": {
			newJob(perIndex(1)),
			[]*corev1.Pod{pod("a.0", failed, after("1")), pod("b.1")},
			"active 2, ready 0, terminating 0, succeeded 0, failed 1; broken [0]; release a.0; create 2",
		},
		"an index has failed, the others have not": {
			newJob(perIndex(0), status(func(s *batchv1.JobStatus) { s.CompletedIndexes, s.Succeeded = "0,1", 2 })),
			[]*corev1.Pod{pod("a.2", failed)},
			"active 0, ready 0, terminating 0, succeeded 2, failed 1; completed 0,1; broken [2]; release a.2; FailureTarget True FailedIndexes; Failed True FailedIndexes; event FailedIndexes",
		},
		"too many failed indexes": {
			newJob(perIndex(0), spec(func(s *batchv1.JobSpec) { s.MaxFailedIndexes = new(int32(0)) })),
			[]*corev1.Pod{pod("a.0", failed)},
			"active 0, ready 0, terminating 0, succeeded 0, failed 1; broken [0]; release a.0; FailureTarget True MaxFailedIndexesExceeded; Failed True MaxFailedIndexesExceeded; event MaxFailedIndexesExceeded",
		},

		"policy fails the job": {
			newJob(policy(on("FailJob", 42))),
			[]*corev1.Pod{pod("a", exit(42)), pod("b")},
			"active 0, ready 0, terminating 1, succeeded 0, failed 2; release a b; delete b; FailureTarget True PodFailurePolicy",
		},
		"policy ignores":        {newJob(policy(on("Ignore", 42))), []*corev1.Pod{pod("a", exit(42)), pod("b")}, "active 2, ready 0, terminating 0, succeeded 0, failed 0; release a; create any"},
		"policy is of others":   {newJob(policy(on("FailJob", 42))), []*corev1.Pod{pod("a", exit(1)), pod("b")}, "active 2, ready 0, terminating 0, succeeded 0, failed 1; release a; create any"},
		"policy fails an index": {newJob(perIndex(5), policy(on("FailIndex", 42))), []*corev1.Pod{pod("a.0", exit(42)), pod("b.1")}, "active 2, ready 0, terminating 0, succeeded 0, failed 1; broken [0]; release a.0; create 2"},
		"policy ignores in an index": {
			newJob(perIndex(5), policy(on("Ignore", 42))),
			[]*corev1.Pod{pod("a.0", exit(42)), pod("b.1")},
			"active 2, ready 0, terminating 0, succeeded 0, failed 0; broken []; release a.0; create 0(0 failed, 1 ignored)",
		},
		"success policy": {
			newJob(indexed, wins(batchv1.SuccessPolicyRule{SucceededIndexes: new("1-2"), SucceededCount: new(int32(1))})),
			[]*corev1.Pod{pod("a.1", succeeded), pod("b.0")},
			"active 0, ready 0, terminating 1, succeeded 1, failed 0; completed 1; release b.0 a.1; delete b.0; SuccessCriteriaMet True SuccessPolicy",
		},
		"success policy not met": {
			newJob(indexed, wins(batchv1.SuccessPolicyRule{SucceededIndexes: new("1-2")})),
			[]*corev1.Pod{pod("a.1", succeeded), pod("b.0")},
			"active 2, ready 0, terminating 0, succeeded 1, failed 0; completed 1; release a.1; create 2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := tc.job.DeepCopy()
			plan := job.Decide(tc.job, tc.pods, job.Backoff{}, now)
			if got := told(plan); got != tc.want {
				t.Errorf("the plan is\n%s\nwant\n%s", got, tc.want)
			}
			if diff := cmp.Diff(before, tc.job); diff != "" {
				t.Errorf("the job was changed (-before +after):\n%s", diff)
			}
			if suspended := ptr.Deref(tc.job.Spec.Suspend, false); (plan.Status.StartTime == nil) != suspended {
				t.Errorf("startTime = %v, suspended: %v", plan.Status.StartTime, suspended)
			}
		})
	}
}

// TestBackoff: the wait doubles with each failure from 10 s to 10 min, and a success
// ends it.
func TestBackoff(t *testing.T) {
	backoff := job.Backoff{}
	for i, seconds := range []int{10, 20, 40, 80, 160, 320, 600, 600} {
		want := time.Duration(seconds) * time.Second
		j := newJob(spec(func(s *batchv1.JobSpec) { s.BackoffLimit = new(int32(100)) }))
		plan := job.Decide(j, []*corev1.Pod{pod("a", ended(corev1.PodFailed, 1, 0))}, backoff, now)
		if backoff = plan.Backoff; plan.After != want || len(plan.Create) > 0 {
			t.Errorf("after %d failures: look again after %s, want %s; create %v", i+1, plan.After, want, plan.Create)
		}
	}
	plan := job.Decide(newJob(), []*corev1.Pod{pod("a", ended(corev1.PodSucceeded, 0, 0))}, backoff, now)
	if len(plan.Create) != 2 || plan.Backoff.Failures != 0 {
		t.Errorf("after a success: %+v", plan)
	}
}

func TestExpiry(t *testing.T) {
	ttl := spec(func(s *batchv1.JobSpec) { s.TTLSecondsAfterFinished = new(int32(60)) })
	done := func(ago time.Duration) of {
		return status(func(s *batchv1.JobStatus) {
			s.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-ago))}}
		})
	}
	for name, tc := range map[string]struct {
		job  *batchv1.Job
		left time.Duration
		ends bool
	}{
		"running": {newJob(ttl), 0, false}, "for ever": {newJob(done(time.Hour)), 0, false},
		"soon": {newJob(ttl, done(20*time.Second)), 40 * time.Second, true}, "now": {newJob(ttl, done(time.Hour)), 0, true},
	} {
		if left, ends := job.Expiry(tc.job, now); left != tc.left || ends != tc.ends {
			t.Errorf("%s: %s, %v, want %s, %v", name, left, ends, tc.left, tc.ends)
		}
	}
}
