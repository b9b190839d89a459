package e2e_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/e2e"
)

// killedJobs are one whose pods are replaced when they fail, and one whose containers are
// started again where they are. Each container that comes to its end leaves a line.
const killedJobs = `apiVersion: batch/v1
kind: Job
metadata: {name: each, namespace: default}
spec:
  completionMode: Indexed
  completions: 28
  parallelism: 6
  backoffLimitPerIndex: 1000
  maxFailedIndexes: 0
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: headway.dev/test/busybox:1
        command: [sh, -c, 'sleep 1 && echo "$(hostname)" >> /ran/each-$JOB_COMPLETION_INDEX']
        volumeMounts: [{name: ran, mountPath: /ran}]
      volumes: [{name: ran, hostPath: {path: DIR}}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: any, namespace: default}
spec:
  completions: 12
  parallelism: 2
  backoffLimit: 1000
  template:
    spec:
      restartPolicy: OnFailure
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: headway.dev/test/busybox:1
        command: [sh, -c, 'sleep 1 && echo "$(hostname)" >> /ran/any']
        volumeMounts: [{name: ran, mountPath: /ran}]
      volumes: [{name: ran, hostPath: {path: DIR}}]
`

// Headway, its containerd, shims and containers are killed at random moments, one by one
// and all of them together, while two Jobs run. In the end the count of their successes
// and failures is that of their pods, each index has succeeded once, what is told to have
// succeeded has run to its end, and nothing is left over.
func TestJobsAreCountedDespiteKills(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	ran := t.TempDir()
	c.KubectlIn(strings.ReplaceAll(killedJobs, "DIR", ran), "apply", "-f", "-")
	program := func() {
		c.Program.Kill()
		c.Up()
	}
	one := func(prefix string) func() {
		return func() {
			c.Eventually(time.Minute, prefix+" runs", func() error {
				if ended(t, c, "each") && ended(t, c, "any") {
					return nil
				}
				return c.Processes.Kill(prefix, random.IntN)
			})
		}
	}
	kills := []func(){
		program, program, program, c.Processes.KillContainerd,
		one("sh"), one("sh"), one("containerd-shim"),
		func() {
			c.Processes.KillAll()
			program()
		},
	}
	random.Shuffle(len(kills), func(i, j int) { kills[i], kills[j] = kills[j], kills[i] })
	c.Eventually(time.Minute, "pods run", func() error { return jobsStarted(t, c) })
	made := 0
	for _, kill := range kills {
		time.Sleep(time.Duration(random.IntN(1200)) * time.Millisecond) //nolint:forbidigo // the random moment
		if ended(t, c, "each") && ended(t, c, "any") {
			break
		}
		kill()
		made++
		for job, most := range map[string]int{"each": 6, "any": 2} {
			if n := activePods(t, c, job); n > most {
				t.Errorf("%d pods of %s run at once, want at most %d", n, job, most)
			}
		}
	}
	c.Eventually(3*time.Minute, "the jobs have ended", func() error {
		if !ended(t, c, "each") || !ended(t, c, "any") {
			return fmt.Errorf("%s", c.Kubectl("get", "jobs,pods"))
		}
		return nil
	})
	failed := 0
	for name, want := range map[string]struct {
		succeeded int32
		indexes   string
	}{"each": {28, "0-27"}, "any": {12, ""}} {
		job, err := c.Client().BatchV1().Jobs("default").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		phases, indexes := map[corev1.PodPhase]int32{}, map[string]int{}
		for _, pod := range podsOf(t, c, name) {
			phases[pod.Status.Phase]++
			if pod.Status.Phase == corev1.PodSucceeded {
				indexes[pod.Labels[batchv1.JobCompletionIndexAnnotation]]++
				lines, err := os.ReadFile(filepath.Join(ran, strings.TrimSuffix(name+"-"+pod.Labels[batchv1.JobCompletionIndexAnnotation], "-")))
				if err != nil || !strings.Contains("\n"+string(lines), "\n"+cmp.Or(pod.Spec.Hostname, pod.Name)+"\n") {
					t.Errorf("pod %s succeeded and did not run to its end: %q, %v", pod.Name, lines, err)
				}
			}
			if len(pod.Finalizers) > 0 {
				t.Errorf("pod %s is held by %v", pod.Name, pod.Finalizers)
			}
		}
		s := job.Status
		if !slices.ContainsFunc(s.Conditions, func(c batchv1.JobCondition) bool {
			return c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue
		}) || s.Succeeded != want.succeeded || s.Succeeded != phases[corev1.PodSucceeded] || s.Failed != phases[corev1.PodFailed] || s.Active != 0 || s.CompletedIndexes != want.indexes || len(phases) > 2 {
			t.Errorf("job %s has the status %+v, its pods are %v", name, s, phases)
		}
		if u := s.UncountedTerminatedPods; u != nil && len(u.Succeeded)+len(u.Failed) > 0 {
			t.Errorf("job %s has not counted %+v", name, u)
		}
		for index, n := range indexes {
			if name == "each" && n != 1 {
				t.Errorf("index %s succeeded %d times", index, n)
			}
		}
		failed += int(s.Failed)
	}
	c.Eventually(time.Minute, "nothing of theirs runs", func() error {
		if left := c.Processes.List("s"); len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})
	t.Logf("%d kills, %d pods failed, 40 successes", made, failed)
}

func podsOf(t *testing.T, c *e2e.Cluster, job string) []corev1.Pod {
	t.Helper()
	pods, err := c.Client().CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job})
	if err != nil {
		t.Fatal(err)
	}
	return pods.Items
}

func activePods(t *testing.T, c *e2e.Cluster, job string) (n int) {
	t.Helper()
	for _, pod := range podsOf(t, c, job) {
		if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed && pod.DeletionTimestamp == nil {
			n++
		}
	}
	return n
}

func jobsStarted(t *testing.T, c *e2e.Cluster) error {
	t.Helper()
	for _, name := range []string{"each", "any"} {
		if !slices.ContainsFunc(podsOf(t, c, name), func(p corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning }) {
			return fmt.Errorf("none of %s", name)
		}
	}
	return nil
}

func ended(t *testing.T, c *e2e.Cluster, name string) bool {
	t.Helper()
	job, err := c.Client().BatchV1().Jobs("default").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
	})
}
