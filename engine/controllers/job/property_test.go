package job_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"headway.dev/engine/controllers/job"
)

// world is a job and its pods, which end, vanish and are written to as it happens.
type world struct {
	job     *batchv1.Job
	pods    []*corev1.Pod
	backoff job.Backoff
	now     time.Time
	made    int
	// succeeded are the pods that did, and were counted or will be.
	succeeded map[types.UID]int
}

// do writes a plan as the store does: all of it.
func (w *world) do(t *rapid.T, plan job.Plan) {
	w.job.Status, w.backoff = plan.Status, plan.Backoff
	for _, p := range slices.Concat(plan.Release, plan.Delete) {
		if !slices.Contains(w.pods, p) {
			t.Fatalf("the plan is about pod %s, which is not there", p.Name)
		}
	}
	for _, p := range plan.Release {
		w.replace(p, func(p *corev1.Pod) { p.Finalizers = nil })
	}
	for _, p := range plan.Delete {
		w.deleted(p.UID)
	}
	for _, c := range plan.Create {
		w.made++
		name := fmt.Sprintf("p%d", w.made)
		if c.Index >= 0 {
			name += "." + strconv.Itoa(c.Index)
		}
		p := pod(name, func(p *corev1.Pod) {
			p.CreationTimestamp = metav1.NewTime(w.now)
			p.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(c.Failed)
			p.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(c.Ignored)
		})
		w.pods = append(w.pods, p)
	}
	w.sweep()
}

func (w *world) replace(old *corev1.Pod, edit func(*corev1.Pod)) {
	for i, p := range w.pods {
		if p.UID == old.UID {
			next := p.DeepCopy()
			edit(next)
			w.pods[i] = next
		}
	}
}

func (w *world) deleted(uid types.UID) {
	for _, p := range w.pods {
		if p.UID == uid && p.DeletionTimestamp == nil {
			w.replace(p, func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.NewTime(w.now)) })
		}
	}
}

// sweep removes what is deleted, has ended and is held by nothing.
func (w *world) sweep() {
	w.pods = slices.DeleteFunc(w.pods, func(p *corev1.Pod) bool {
		return p.DeletionTimestamp != nil && len(p.Finalizers) == 0 && p.Status.Phase != corev1.PodRunning
	})
}

// end ends a pod that runs.
func (w *world) end(p *corev1.Pod, phase corev1.PodPhase) {
	code := int32(0)
	if phase == corev1.PodFailed {
		code = 1
	}
	w.replace(p, func(p *corev1.Pod) { ended(phase, code, now.Sub(w.now))(p) })
	if phase == corev1.PodSucceeded && len(p.Finalizers) > 0 {
		w.succeeded[p.UID]++
	}
	w.sweep()
}

func (w *world) running() []*corev1.Pod {
	return slices.DeleteFunc(slices.Clone(w.pods), func(p *corev1.Pod) bool { return p.Status.Phase != corev1.PodRunning })
}

// TestCounts: whatever happens to the pods, and however often the server ends before
// it writes, each success is counted once, no more pods run than may, and the job
// ends.
func TestCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		byIndex := rapid.Bool().Draw(t, "indexed")
		parallelism := rapid.Int32Range(1, 4).Draw(t, "parallelism")
		completions := rapid.Int32Range(1, 6).Draw(t, "completions")
		j := newJob(spec(func(s *batchv1.JobSpec) {
			s.Parallelism, s.Completions, s.BackoffLimit = &parallelism, &completions, new(int32(1000))
			if byIndex {
				s.CompletionMode = new(batchv1.IndexedCompletion)
				if rapid.Bool().Draw(t, "per index") {
					s.BackoffLimitPerIndex = new(rapid.Int32Range(0, 2).Draw(t, "limit"))
				}
			}
			if rapid.Bool().Draw(t, "replace failed") {
				s.PodReplacementPolicy = new(batchv1.Failed)
			}
		}))
		w := &world{job: j, now: now, succeeded: map[types.UID]int{}}
		for range 40 {
			w.step(t)
		}
		// From here on all goes well.
		w.job.Spec.Suspend = new(false)
		for range 100 {
			for _, p := range w.running() {
				phase := corev1.PodSucceeded
				if p.DeletionTimestamp != nil {
					phase = corev1.PodFailed
				}
				w.end(p, phase)
			}
			w.look(t)
			w.now = w.now.Add(time.Hour)
		}
		w.ended(t)
	})
}

func (w *world) step(t *rapid.T) {
	w.now = w.now.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "seconds")) * time.Second)
	switch rapid.SampledFrom([]string{"look", "look", "look", "succeed", "succeed", "fail", "delete", "suspend", "crash", "forget"}).Draw(t, "what") {
	case "look":
		w.look(t)
	case "succeed":
		if p := w.some(t); p != nil {
			w.end(p, corev1.PodSucceeded)
		}
	case "fail":
		if p := w.some(t); p != nil {
			w.end(p, corev1.PodFailed)
		}
	case "delete":
		if p := w.some(t); p != nil {
			w.deleted(p.UID)
		}
	case "suspend":
		if job.Finished(w.job) == nil {
			w.job.Spec.Suspend = new(rapid.Bool().Draw(t, "suspended"))
		}
	case "crash": // before the write
		if job.Finished(w.job) == nil {
			job.Decide(w.job, w.pods, w.backoff, w.now)
		}
	case "forget": // as a new process does
		w.backoff = job.Backoff{}
	}
	w.holds(t)
}

func (w *world) some(t *rapid.T) *corev1.Pod {
	running := w.running()
	if len(running) == 0 {
		return nil
	}
	return rapid.SampledFrom(running).Draw(t, "pod")
}

func (w *world) look(t *rapid.T) {
	if job.Finished(w.job) != nil {
		return
	}
	w.do(t, job.Decide(w.job, w.pods, w.backoff, w.now))
	w.holds(t)
}

// holds checks what is always so.
func (w *world) holds(t *rapid.T) {
	active, waiting := map[string]int{}, 0
	for _, p := range w.pods {
		if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
			active[p.Annotations[batchv1.JobCompletionIndexAnnotation]]++
		}
		if p.Status.Phase == corev1.PodSucceeded && len(p.Finalizers) > 0 {
			waiting++
		}
	}
	total := 0
	for index, n := range active {
		if total += n; index != "" && n > 1 {
			t.Fatalf("%d pods of index %s run", n, index)
		}
	}
	if total > int(*w.job.Spec.Parallelism) {
		t.Fatalf("%d pods run, at most %d may", total, *w.job.Spec.Parallelism)
	}
	s := &w.job.Status
	if w.job.Spec.CompletionMode != nil {
		if int(s.Succeeded) > int(*w.job.Spec.Completions) {
			t.Fatalf("%d of %d indexes succeeded", s.Succeeded, *w.job.Spec.Completions)
		}
		return
	}
	if got, want := int(s.Succeeded)+waiting, len(w.succeeded); got != want {
		t.Fatalf("%d successes are counted or wait for it, %d pods succeeded", got, want)
	}
}

// ended checks how a job ends of which all is well in the end.
func (w *world) ended(t *rapid.T) {
	end := job.Finished(w.job)
	if end == nil {
		t.Fatalf("the job does not end: %+v", w.job.Status)
	}
	for _, p := range w.pods {
		if len(p.Finalizers) > 0 || p.Status.Phase == corev1.PodRunning {
			t.Fatalf("pod %s is left: %s, %v", p.Name, p.Status.Phase, p.Finalizers)
		}
	}
	s := &w.job.Status
	if end.Type == batchv1.JobFailed {
		if w.job.Spec.BackoffLimitPerIndex == nil || *s.FailedIndexes == "" {
			t.Fatalf("the job has failed: %+v", end)
		}
		return
	}
	if s.Succeeded < *w.job.Spec.Completions || s.Active != 0 || *s.Terminating != 0 {
		t.Fatalf("complete with the status %+v, completions %d", s, *w.job.Spec.Completions)
	}
}
