package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

// A pod whose program starts itself for ever gets as many processes as a pod may
// have: the node starts others meanwhile, and the pod can be deleted.
func TestForkBomb(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t), "--pod-max-pids=50")
	// A shell that cannot fork ends: the first one goes on with a new one.
	c.KubectlIn(`apiVersion: v1
kind: Pod
metadata: {name: bomb}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: "headway.dev/test/busybox:1", command: [sh, -c, "while true; do (while true; do sleep 1000 & done); sleep 1; done"]}
`, "apply", "-f", "-")
	c.Eventually(time.Minute, "the pod has all the processes that it may have", func() error {
		if n := len(c.Processes.List("sleep")) + len(c.Processes.List("sh")); n < 45 {
			return fmt.Errorf("%d processes", n)
		}
		return nil
	})
	c.KubectlIn(`apiVersion: v1
kind: Pod
metadata: {name: beside}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: "headway.dev/test/busybox:1", command: [httpd, -f, -p, "8080"], readinessProbe: {exec: {command: ["true"]}, periodSeconds: 1}}
`, "apply", "-f", "-")
	c.Kubectl("wait", "--for=condition=Ready", "pod/beside", "--timeout=60s")
	if n := len(c.Processes.List("sleep")) + len(c.Processes.List("sh")); n > 50 {
		t.Errorf("the pod has %d processes, want at most 50", n)
	}
	// All pods together leave some to the node.
	limit, err := os.ReadFile(filepath.Join(c.Processes.PidsCgroup(), "kubepods", "pids.max"))
	if err != nil || strings.TrimSpace(string(limit)) == "max" {
		t.Errorf("the pods together may have %q processes, %v; want a number", limit, err)
	}
	c.Kubectl("delete", "pod", "bomb", "beside", "--timeout=60s")
	c.Eventually(30*time.Second, "no process is left", func() error {
		if left := append(c.Processes.List("sleep"), c.Processes.List("sh")...); len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})
}
