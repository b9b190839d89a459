package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

// A commit whose only replica, without a probe, ends again and again, at once or
// after seconds, is not healthy: it is reverted, the reason is the crash, and an
// event about the Deployment has what the program printed last.
func TestCrashLoopIsReverted(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.AllImages(t), "--settle=10s")
	deployment := func(command string) string {
		return `apiVersion: apps/v1
kind: Deployment
metadata: {name: worker, namespace: hello}
spec:
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: main, image: "headway.dev/test/busybox:1", command: [sh, -c, "` + command + `"]}
`
	}
	const file = "apps/hello/overlays/production/worker.yaml"
	c.Clone.Replace("apps/hello/overlays/production/kustomization.yaml", "  - ../../base\n", "  - ../../base\n  - worker.yaml\n")
	c.Clone.Write(file, deployment("exec sleep 100000"))
	good := c.Clone.Push("Add a worker")
	c.Kubectl("annotate", "ks", "cluster", "-n", "headway-system", "headway.dev/on-failure=revert")
	c.Kubectl("patch", "ks", "cluster", "-n", "headway-system", "--type=merge", "-p", `{"spec":{"timeout":"25s"}}`)
	c.Deployed(good)
	c.Eventually(time.Minute, "the first commit is known to be healthy", func() error { return lastHealthy(c, good) })
	for _, seconds := range []int{0, 3, 8} {
		said := fmt.Sprintf("no config after %d s", seconds)
		c.Clone.Write(file, deployment(fmt.Sprintf("echo starting; sleep %d; echo %s; exit 5", seconds, said)))
		bad := c.Clone.Push(fmt.Sprintf("End after %d s", seconds))
		c.Eventually(2*time.Minute, "the commit is reverted", func() error {
			c.Clone.Git("fetch", "-q")
			return holds(c.Clone.Git("log", "-1", "--format=%B", "origin/main"), "This reverts commit "+bad)
		})
		contains(t, "why it is reverted", c.Clone.Git("log", "-1", "--format=%B", "origin/main"), "exit code 5 (Error)")
		contains(t, "the journal", c.Headway("log").Stdout, "exit code 5 (Error)")
		c.Eventually(20*time.Second, "an event has the last lines", func() error {
			return holds(c.Kubectl("get", "events", "-n", "hello", "--field-selector=reason=LastLogLines,involvedObject.name=worker", "-o", "jsonpath={range .items[*]}{.message}{end}"),
				"container main printed last:\nstarting\n"+said)
		})
		if text := c.Clone.Git("log", "-1", "--format=%B", "origin/main"); strings.Contains(text, said) {
			t.Errorf("Git has what the program printed: %s", text)
		}
		if err := lastHealthy(c, bad); err == nil {
			t.Errorf("the commit that ends after %d s was healthy last", seconds)
		}
		c.Clone.Git("pull", "-q")
		c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	}
}

// lastHealthy fails unless the commit is the one that was healthy last.
func lastHealthy(c *e2e.Cluster, commit string) error {
	return holds(c.Kubectl("get", "ks", "cluster", "-n", "headway-system", "-o", `jsonpath={.status.conditions[?(@.type=="headway.dev/LastHealthy")].message}`), commit)
}
