package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

const declaredLoad = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: worker
  namespace: default
  annotations: {note: first}
spec:
  replicas: 1
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: "headway.dev/test/busybox:1"
        command: [sh, -c, "while :; do if [ -f /tmp/busy ]; then i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done; else sleep 2; fi; done"]
        resources: {requests: {cpu: 10m}, limits: {cpu: 200m}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: worker, namespace: default}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: worker}
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
  behavior:
    scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 1200}]}
    scaleDown: {stabilizationWindowSeconds: 0, policies: [{type: Pods, value: 1, periodSeconds: 15}]}
`

// A load that rises and falls scales a program of Git's up and down, no further and no
// faster than its behavior says. Git's number of replicas counts for the first creation
// only: neither a commit, of which a plan says so before, nor a rollback takes it back.
// kubectl top tells the load, kubectl autoscale makes another autoscaler, and without
// its file one is gone.
func TestAutoscaling(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	c.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	c.Clone.Write("worker.yaml", declaredLoad)
	c.Deployed(c.Clone.Push("a worker that is scaled"))
	pod := strings.TrimSpace(c.Kubectl("get", "pods", "-l", "app=worker", "-o", "jsonpath={.items[*].metadata.name}"))
	replicas := func(name, want string) {
		t.Helper()
		c.Eventually(4*time.Minute, name+" has "+want+" replicas", func() error {
			if got := c.Kubectl("get", "deploy", name, "-o", "jsonpath={.spec.replicas}"); got != want {
				return fmt.Errorf("it has %s:\n%s", got, c.Kubectl("describe", "hpa", name))
			}
			return nil
		})
	}
	c.Kubectl("exec", pod, "--", "touch", "/tmp/busy")
	c.Kubectl("create", "deployment", "other", "--image=headway.dev/test/busybox:1", "--", "sleep", "1000")
	contains(t, "autoscale", c.Kubectl("autoscale", "deployment", "other", "--min=2", "--max=3", "--cpu-percent=80"), "other autoscaled")
	replicas("other", "2")

	c.Eventually(2*time.Minute, "kubectl top tells of the load", func() error {
		// It fails as long as there are no figures of the pod.
		out := c.Run("", "kubectl", "top", "pods", "-l", "app=worker", "--containers", "--no-headers")
		if f := strings.Fields(out.Stdout); len(f) < 4 || f[0] != pod || f[1] != "main" || len(strings.TrimSuffix(f[2], "m")) < 2 || !strings.HasSuffix(f[3], "Mi") {
			return fmt.Errorf("it says %+v", out)
		}
		return nil
	})
	top := c.Kubectl("top", "nodes")
	contains(t, "top nodes", top, "CPU(cores)", "MEMORY(bytes)", "node-1 ")
	if strings.Contains(top, "<unknown>") {
		t.Errorf("top nodes: %s", top)
	}

	// The load asks for more than one more.
	replicas("worker", "2")
	said := func(args ...string) string { return strings.Join(strings.Fields(c.Kubectl(args...)), " ") }
	c.Eventually(2*time.Minute, "the rate is limited", func() error {
		if err := holds(said("get", "hpa", "worker"), "NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE worker Deployment/worker cpu: ", "%/80% 1 5 2 "); err != nil {
			return err
		}
		return holds(said("describe", "hpa", "worker"), "Reference: Deployment/worker", "resource cpu on pods (as a percentage of request):", "Deployment pods: 2 current / 2 desired",
			"ScalingLimited True ScaleUpLimit the desired replica count is increasing faster than the maximum scale rate", "SuccessfulRescale")
	})
	c.Clone.Replace("worker.yaml", "value: 1, periodSeconds: 1200", "value: 2, periodSeconds: 1200")
	c.Clone.Replace("worker.yaml", "note: first", "note: second")
	contains(t, "plan", c.Headway("plan", "--path", c.Clone.Dir).Stdout, "spec.replicas is left to HorizontalPodAutoscaler worker")
	c.Deployed(c.Clone.Push("faster"))
	replicas("worker", "3")
	rollback(t, c)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	if got := c.Kubectl("get", "deploy", "worker", "-o", "jsonpath={.metadata.annotations.note} {.spec.replicas}"); got != "first 3" {
		t.Errorf("after the rollback: %s, want first 3", got)
	}

	c.Kubectl("exec", pod, "--", "rm", "/tmp/busy")
	replicas("worker", "1")
	want := []string{
		"New size: 1; reason: All metrics below target",
		"New size: 2; reason: All metrics below target",
		"New size: 2; reason: cpu resource utilization (percentage of request) above target",
		"New size: 3; reason: cpu resource utilization (percentage of request) above target",
	}
	events := func(reason string) []string {
		return strings.Split(strings.TrimSpace(c.Kubectl("get", "events", "--field-selector", "involvedObject.name=worker,reason="+reason, "-o", `jsonpath={range .items[*]}{.message}{"\n"}{end}`)), "\n")
	}
	c.Eventually(time.Minute, "an event tells of each size, and nobody else made others", func() error {
		got, sizes := events("SuccessfulRescale"), events("ScalingReplicaSet")
		if slices.Sort(got); !slices.Equal(got, want) || len(sizes) != 1+len(want) {
			return fmt.Errorf("they say %q, %q", got, sizes)
		}
		return nil
	})

	c.Clone.Write("none.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: none, namespace: default}\n")
	c.Clone.Git("rm", "-q", "worker.yaml")
	c.Deployed(c.Clone.Push("no worker"))
	c.Eventually(time.Minute, "it is gone with its autoscaler", func() error {
		if left := c.Kubectl("get", "hpa,deploy", "-o", "name"); left != "horizontalpodautoscaler.autoscaling/other\ndeployment.apps/other\n" {
			return fmt.Errorf("there are %s", left)
		}
		return nil
	})
}
