package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

const declaredJob = `apiVersion: batch/v1
kind: Job
metadata: {name: each, namespace: default}
spec:
  completionMode: Indexed
  completions: 3
  parallelism: 2
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: main, image: "headway.dev/test/busybox:1", command: [sh, -c, 'echo "index $JOB_COMPLETION_INDEX on $(hostname)"']}
`

// A commit with a Job is deployed once the Job has completed, and not at all if it
// fails; a Job is immutable, and made anew with force. kubectl creates Jobs, waits for
// them and deletes them with their pods.
func TestJobs(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	c.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	c.Clone.Write("job.yaml", declaredJob)
	c.Deployed(c.Clone.Push("a job"))
	want := func(what, got string, wanted ...string) {
		t.Helper()
		for _, w := range wanted {
			if !strings.Contains(got, w) {
				t.Errorf("%s has no %q:\n%s", what, w, got)
			}
		}
	}
	want("get", c.Kubectl("get", "job", "each"), "Complete", "3/3")
	want("status", c.Kubectl("get", "job", "each", "-o", "jsonpath={.status.completedIndexes} {.status.conditions[*].type} {.status.uncountedTerminatedPods}"), "0-2 SuccessCriteriaMet Complete {}")
	want("logs", c.Kubectl("logs", "job/each", "--all-pods=true", "--prefix=false"), "index 0 on each-0", "index 1 on each-1", "index 2 on each-2")
	want("describe", c.Kubectl("describe", "job", "each"), "Completed Indexes:  0-2", "SuccessfulCreate", "Job completed")
	want("explain", c.Kubectl("explain", "job.spec.backoffLimit"), "<integer>", "before marking this job failed")
	if held := c.Kubectl("get", "pods", "-l", "job-name=each", "-o", "jsonpath={.items[*].metadata.finalizers}"); held != "" {
		t.Errorf("pods are held: %s", held)
	}

	// Its template cannot change, but by force.
	c.Clone.Replace("job.yaml", "echo", "exit 3; echo")
	plan := func(code int, wanted ...string) {
		t.Helper()
		r := c.Headway("plan", "--path", c.Clone.Dir)
		if r.Code != code {
			t.Errorf("plan: exit code %d, want %d", r.Code, code)
		}
		want("plan", r.Stdout+r.Stderr, wanted...)
	}
	plan(1, "job.yaml", "field is immutable", "kustomize.toolkit.fluxcd.io/force")
	c.Clone.Push("another program")
	statusHas(t, c, "field is immutable", "kustomize.toolkit.fluxcd.io/force")
	c.Clone.Replace("job.yaml", "namespace: default}", "namespace: default, annotations: {kustomize.toolkit.fluxcd.io/force: enabled}}")
	c.Clone.Replace("job.yaml", "completions: 3", "completions: 3\n  backoffLimit: 0")
	plan(2, "± recreate Job/each in default (replaces its pods) (immutable: spec.template)", "+ - exit 3; echo", "starts 2 pods")
	c.Clone.Push("another program, by force")
	statusHas(t, c, "not healthy", "Job/each in default Failed: Job Failed.", "BackoffLimitExceeded: Job has reached the specified backoff limit")
	want("the failed job", c.Kubectl("get", "job", "each"), "Failed", "0/3")
	c.Clone.Git("revert", "--no-edit", "HEAD~1..HEAD")
	c.Clone.Replace("job.yaml", "exit 3; echo", "echo")
	c.Clone.Replace("job.yaml", "namespace: default}", "namespace: default, annotations: {kustomize.toolkit.fluxcd.io/force: enabled}}")
	c.Deployed(c.Clone.Push("the program of before"))
	want("get", c.Kubectl("get", "job", "each"), "Complete", "3/3")

	// By hand.
	want("create", c.Kubectl("create", "job", "hello", "--image=headway.dev/test/busybox:1", "--", "echo", "hello"), "job.batch/hello created")
	want("wait", c.Kubectl("wait", "--for=condition=complete", "job/hello", "--timeout=60s"), "condition met")
	want("logs", c.Kubectl("logs", "job/hello"), "hello")
	c.Kubectl("create", "job", "bad", "--image=headway.dev/test/busybox:1", "--", "false")
	c.Kubectl("patch", "job", "bad", "-p", `{"spec":{"backoffLimit":0}}`)
	c.Kubectl("wait", "--for=condition=failed", "job/bad", "--timeout=60s")
	c.Kubectl("create", "job", "long", "--image=headway.dev/test/busybox:1", "--", "sleep", "3600")
	c.Kubectl("wait", "--for=jsonpath={.status.ready}=1", "job/long", "--timeout=60s")
	c.Kubectl("patch", "job", "long", "-p", `{"spec":{"suspend":true}}`)
	c.Kubectl("wait", "--for=condition=suspended", "job/long", "--timeout=60s")
	c.Kubectl("delete", "job", "hello", "bad", "long")
	c.Kubectl("create", "cronjob", "tick", "--image=headway.dev/test/busybox:1", "--schedule=0 0 1 1 *", "--", "echo", "tick")
	want("create from", c.Kubectl("create", "job", "now", "--from=cronjob/tick"), "job.batch/now created")
	c.Kubectl("wait", "--for=condition=complete", "job/now", "--timeout=60s")
	want("get", c.Kubectl("get", "cronjobs"), "tick", "0 0 1 1 *", "<none>", "False")
	c.Kubectl("delete", "cronjob", "tick")

	// Without the file, it goes with its pods.
	c.Clone.Git("rm", "-q", "job.yaml")
	c.Clone.Write("config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: left, namespace: default}\n")
	c.Deployed(c.Clone.Push("no job"))
	c.Eventually(time.Minute, "jobs and pods are gone", func() error {
		if left := c.Kubectl("get", "jobs,pods", "-n", "default", "-o", "name"); left != "" {
			return fmt.Errorf("there are %s", left)
		}
		return nil
	})
}
