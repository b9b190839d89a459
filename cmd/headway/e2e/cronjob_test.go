package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

const declaredCronJob = `apiVersion: batch/v1
kind: CronJob
metadata: {name: tick, namespace: default}
spec:
  schedule: "* * * * *"
  successfulJobsHistoryLimit: 1
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: main, image: "headway.dev/test/busybox:1", command: [echo, tick]}]
`

// A CronJob of Git's starts a Job each minute, and another when kubectl asks for it. A
// plan tells what a commit changes and what is wrong about it; one that suspends it is
// rolled back. Without its file it goes with its jobs and their pods.
func TestCronJobs(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	c.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	c.Clone.Write("cron.yaml", declaredCronJob)
	c.Deployed(c.Clone.Push("a CronJob"))
	contains(t, "get", strings.Join(strings.Fields(c.Kubectl("get", "cronjobs")), " "), "NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE tick * * * * * <none> False")

	contains(t, "create", c.Kubectl("create", "job", "now", "--from=cronjob/tick"), "job.batch/now created")
	c.Kubectl("wait", "--for=condition=complete", "job/now", "--timeout=60s")
	contains(t, "the job by hand", c.Kubectl("get", "job", "now", "-o", "jsonpath={.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name} {.metadata.annotations}"), "CronJob/tick", `"cronjob.kubernetes.io/instantiate":"manual"`)

	c.Eventually(2*time.Minute, "a job of the schedule has succeeded", func() error {
		if got := strings.Fields(c.Kubectl("get", "cronjob", "tick", "-o", "jsonpath={.status.lastScheduleTime} {.status.lastSuccessfulTime} {.status.active}")); len(got) != 2 {
			return fmt.Errorf("the status is %v", got)
		}
		return holds(c.Kubectl("describe", "cronjob", "tick"), "* * * * *", "SuccessfulCreate", "Created job tick-", "Saw completed job: tick-")
	})

	c.Clone.Replace("cron.yaml", "  schedule:", "  suspend: true\n  schedule:")
	c.Clone.Replace("cron.yaml", "[echo, tick]", "[echo, tock]")
	r := c.Headway("plan", "--path", c.Clone.Dir)
	if r.Code != 2 {
		t.Errorf("plan: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	contains(t, "plan", r.Stdout, "CronJob/tick", "spec.suspend", "tock")
	c.Deployed(c.Clone.Push("not now"))
	contains(t, "get", c.Kubectl("get", "cronjob", "tick", "-o", "jsonpath={.spec.suspend} {.spec.jobTemplate.spec.template.spec.containers[0].command}"), `true ["echo","tock"]`)
	rollback(t, c)
	c.Eventually(time.Minute, "it is as before", func() error {
		return holds(c.Kubectl("get", "cronjob", "tick", "-o", "jsonpath={.spec.suspend} {.spec.jobTemplate.spec.template.spec.containers[0].command}"), `false ["echo","tick"]`)
	})

	c.Clone.Replace("cron.yaml", `"* * * * *"`, `"every minute"`)
	c.Clone.Push("a schedule that is none")
	statusHas(t, c, "cron.yaml", "spec.schedule", `"every minute"`)
	contains(t, "get", c.Kubectl("get", "cronjobs"), "* * * * *")

	c.Clone.Git("rm", "-q", "cron.yaml")
	c.Clone.Write("config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: left, namespace: default}\n")
	c.Deployed(c.Clone.Push("no CronJob"))
	c.Eventually(time.Minute, "it is gone with its jobs and their pods", func() error {
		if left := c.Kubectl("get", "cronjobs,jobs,pods", "-n", "default", "-o", "name"); left != "" {
			return fmt.Errorf("there are %s", left)
		}
		return nil
	})
}
