package e2e_test

import (
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

// sharingPod is a pod whose containers share what it has.
const sharingPod = `apiVersion: v1
kind: Pod
metadata: {name: sharing, namespace: default}
spec:
  terminationGracePeriodSeconds: 0
  resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 300m, memory: 48Mi}}
  containers:
  - {name: main, image: "headway.dev/test/busybox:1", command: [sleep, "3600"], resources: {requests: {cpu: 50m}, limits: {cpu: 200m}}}
  - {name: other, image: "headway.dev/test/busybox:1", command: [tail, -f, /dev/null]}
`

// boxedPod is a pod with a class, and the class.
const boxedPod = `apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: boxed}
handler: old
overhead: {podFixed: {cpu: 100m, memory: 16Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: boxed, namespace: default}
spec:
  runtimeClassName: boxed
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: "headway.dev/test/busybox:1"
    command: [sleep, "3600"]
    resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 200m, memory: 64Mi}}
`

// boundPods: pods of Git have what they share, and what their RuntimeClass costs, in
// their cgroups; the class says which runtime runs them. One of a handler that the node
// does not have waits, which status and kubectl say, and a revert takes it back.
func boundPods(t *testing.T, c *e2e.Cluster) {
	t.Helper()
	c.Clone.Write("boxed.yaml", boxedPod)
	c.Clone.Write("sharing.yaml", sharingPod)
	c.Deployed(c.Clone.Push("pods with bounds"))
	const quota, shares, bytes = "cpu.cfs_quota_us", "cpu.shares", "memory.limit_in_bytes"
	for _, test := range []struct{ pod, controller, file, want string }{
		{"sharing", "cpu", "../" + quota, "30000"},
		{"sharing", "cpu", "../" + shares, "102"},
		{"sharing", "memory", "../" + bytes, "50331648"},
		{"sharing", "cpu", quota, "20000"},
		{"sharing", "memory", bytes, "50331648"},
		{"boxed", "cpu", "../" + quota, "30000"},
		{"boxed", "cpu", "../" + shares, "204"},
		{"boxed", "memory", "../" + bytes, "83886080"},
		{"boxed", "cpu", quota, "20000"},
		{"boxed", "memory", bytes, "67108864"},
	} {
		if got := c.Processes.CgroupValue(test.pod, test.controller, test.file); got != test.want {
			t.Errorf("%s of %s is %s, want %s", test.file, test.pod, got, test.want)
		}
	}
	for pod, shim := range map[string]string{"boxed": "containerd-shim-runc-v1", "sharing": "containerd-shim-runc-v2"} {
		if got := c.Processes.Parent(pod); got != shim {
			t.Errorf("%s runs below %s, want %s", pod, got, shim)
		}
	}
	contains(t, "get runtimeclass", strings.Join(strings.Fields(c.Kubectl("get", "runtimeclass")), " "), "NAME HANDLER AGE boxed old ")
	contains(t, "handlers", c.Kubectl("get", "node", "node-1", "-o", "jsonpath={.status.runtimeHandlers[*].name}"), "old", "runc")
	contains(t, "describe node", strings.Join(strings.Fields(c.Headway("kubectl", "describe", "node", "node-1").Stdout), " "), "default boxed 200m (", "default sharing 100m (")

	c.Clone.Write("lacking.yaml", strings.NewReplacer("boxed", "lacking", "handler: old", "handler: kata").Replace(boxedPod))
	c.Clone.Push("a handler that is not there")
	const why = `Failed to create pod sandbox: failed to get sandbox runtime: no runtime for "kata" is configured`
	statusHas(t, c, "Pod/lacking in default InProgress: FailedCreatePodSandBox: "+why)
	c.Eventually(time.Minute, "an event tells it", func() error {
		return holds(c.Kubectl("describe", "pod", "lacking"), "Runtime Class Name:  lacking", "FailedCreatePodSandBox", why)
	})
	contains(t, "get pod", c.Kubectl("get", "pod", "lacking"), "0/1     ContainerCreating")
	contains(t, "why", c.Headway("why", "pod/lacking").Stdout, `no runtime for "kata" is configured`)
	rollback(t, c)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))

	_, pod, _ := strings.Cut(boxedPod, "---\n")
	c.Clone.Write("none.yaml", strings.ReplaceAll(pod, "boxed", "none"))
	r := c.Headway("plan", "--path", c.Clone.Dir)
	contains(t, "plan", r.Stdout+r.Stderr, "none.yaml:", `pods "none" is forbidden: pod rejected: RuntimeClass "none" not found`)
	c.Clone.Git("rm", "-q", "boxed.yaml", "sharing.yaml")
	c.Clone.Write("none.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: none, namespace: default}\n")
	c.Deployed(c.Clone.Push("no bounds"))
	c.Kubectl("wait", "--for=delete", "pod/boxed", "pod/sharing", "runtimeclass/boxed", "--timeout=60s")
}
