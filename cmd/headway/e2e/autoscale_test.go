package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

const declaredLoad = `apiVersion: apps/v1
kind: Deployment
metadata: {name: worker, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: "headway.dev/test/busybox:1"
        command: [sh, -c, "trap exit TERM; while :; do if [ -f /tmp/busy ]; then i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done; else sleep 1; fi; done"]
        env: [{name: VERSION, value: one}]
        resources: {requests: {cpu: 20m}, limits: {cpu: 200m}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: worker, namespace: default}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: worker}
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
  behavior:
    scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 15}]}
    scaleDown: {stabilizationWindowSeconds: 0, policies: [{type: Pods, value: 1, periodSeconds: 15}]}
`

// A load that rises and falls scales a real program up and down, one pod at a time, as
// its behavior says. Git's number of replicas counts for the first creation only: neither
// healing nor the next commit takes it back. kubectl top tells the load.
func TestAutoscaling(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	c.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	c.Clone.Write("worker.yaml", declaredLoad)
	c.Deployed(c.Clone.Push("a worker that is scaled"))
	pod := strings.TrimSpace(c.Kubectl("get", "pods", "-l", "app=worker", "-o", "name"))
	replicas := func(want string) {
		t.Helper()
		c.Eventually(4*time.Minute, "worker has "+want+" replicas", func() error {
			if got := c.Kubectl("get", "deploy", "worker", "-o", "jsonpath={.spec.replicas}"); got != want {
				return fmt.Errorf("it has %s:\n%s", got, c.Kubectl("describe", "hpa", "worker"))
			}
			return nil
		})
	}
	c.Kubectl("exec", pod, "--", "touch", "/tmp/busy")
	c.Eventually(2*time.Minute, "kubectl top tells of the load", func() error {
		out := c.Kubectl("top", "pods", "--containers", "--no-headers")
		fields := strings.Fields(out)
		if len(fields) < 4 || fields[1] != "main" || len(strings.TrimSuffix(fields[2], "m")) < 2 {
			return fmt.Errorf("it says %q", out)
		}
		return nil
	})
	if out := c.Kubectl("top", "nodes"); !strings.Contains(out, "MEMORY(bytes)") || strings.Contains(out, "<unknown>") {
		t.Errorf("top nodes: %s", out)
	}
	replicas("3")
	c.Clone.Replace("worker.yaml", "value: one", "value: two")
	plan := c.Headway("plan", "--path", c.Clone.Dir).Stdout
	if !strings.Contains(plan, "spec.replicas is left to HorizontalPodAutoscaler worker") {
		t.Errorf("the plan does not say what it leaves alone:\n%s", plan)
	}
	c.Clone.Replace("worker.yaml", "value: two", "value: one")
	c.Kubectl("exec", pod, "--", "rm", "/tmp/busy")
	replicas("1")
	// Events are one for each size, in this order, and none skips one.
	events := c.Kubectl("get", "events", "--field-selector", "involvedObject.name=worker,reason=SuccessfulRescale", "--sort-by=.firstTimestamp", "-o", "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}")
	for _, want := range []string{"New size: 2; reason: cpu resource utilization (percentage of request) above target", "New size: 3;", "New size: 1; reason: All metrics below target"} {
		if !strings.Contains(events, want) {
			t.Errorf("no event says %q:\n%s", want, events)
		}
	}

	c.Kubectl("delete", "hpa", "worker", "--wait=false")
	c.Kubectl("create", "deployment", "other", "--image=headway.dev/test/busybox:1", "--", "sleep", "1000")
	c.Kubectl("autoscale", "deployment", "other", "--min=2", "--max=3", "--cpu-percent=80")
	c.Eventually(time.Minute, "the minimum is kept", func() error {
		if got := c.Kubectl("get", "deploy", "other", "-o", "jsonpath={.spec.replicas}"); got != "2" {
			return fmt.Errorf("%s replicas", got)
		}
		return nil
	})
}
