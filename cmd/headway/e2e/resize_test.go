package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

// sizedPod is a pod with limits.
const sizedPod = `apiVersion: v1
kind: Pod
metadata: {name: declared, namespace: default}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: headway.dev/test/busybox:1
    command: [sleep, "3600"]
    resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]
    resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 300m, memory: 32Mi}}
`

// kubectl resizes a pod while it runs, and the kernel gives it what it is said to have;
// a commit does the same to a pod that Git declares, what is done by hand to that is
// undone, and with git-writes it is committed.
func TestResize(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t), "--runtime-handler", "old=io.containerd.runc.v1")
	c.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	c.Clone.Write("declared.yaml", sizedPod)
	c.Deployed(c.Clone.Push("a pod"))
	has := func(quota, memory, says string) {
		t.Helper()
		c.Eventually(30*time.Second, "the pod is resized", func() error {
			shown := c.Kubectl("get", "pod", "declared", "-o", `jsonpath={.status.containerStatuses[0].restartCount} {.spec.containers[0].resources.limits.cpu} {.status.conditions[?(@.reason=="Error")].message}`)
			if shown != says+" " {
				return fmt.Errorf("it says %s", shown) // what it had may be ending
			}
			if got := c.Processes.CgroupValue("declared", "cpu", "cpu.cfs_quota_us") + " " + c.Processes.CgroupValue("declared", "memory", "memory.limit_in_bytes"); got != quota+" "+memory {
				return fmt.Errorf("it has %s", got)
			}
			return nil
		})
	}
	has("30000", "33554432", "0 300m")
	c.Clone.Replace("declared.yaml", "cpu: 300m", "cpu: 500m")
	c.Deployed(c.Clone.Push("more CPU"))
	has("50000", "33554432", "0 500m")
	resize := func(limits string) string {
		return c.Kubectl("patch", "pod", "declared", "--subresource=resize", "-o", "jsonpath={.metadata.generation}", "-p", `{"spec":{"containers":[{"name":"main","resources":{"limits":`+limits+`}}]}}`)
	}
	// By hand it is undone: the spec changes twice.
	by := resize(`{"cpu":"600m"}`)
	c.Eventually(30*time.Second, "it is undone", func() error {
		if now := c.Kubectl("get", "pod", "declared", "-o", "jsonpath={.metadata.generation}"); now == by {
			return fmt.Errorf("the generation is still %s", now)
		}
		return nil
	})
	has("50000", "33554432", "0 500m")
	// It becomes a commit, and what asks for a restart is given one.
	c.Kubectl("annotate", "-n", "headway-system", "kustomization", "cluster", "headway.dev/git-writes=commit")
	resize(`{"cpu":"200m","memory":"24Mi"}`)
	has("20000", "25165824", "1 200m")
	c.Clone.Git("pull", "-q", "--rebase", "origin", c.Clone.Git("rev-parse", "--abbrev-ref", "HEAD"))
	c.Clone.Replace("declared.yaml", "limits: {cpu: 200m, memory: 24Mi}", "limits: {cpu: 300m, memory: 32Mi}")
	c.Deployed(c.Clone.Push("what it had"))
	has("30000", "33554432", "2 300m")

	c.Kubectl("annotate", "-n", "headway-system", "kustomization", "cluster", "headway.dev/git-writes-")
	boundPods(t, c)
}
