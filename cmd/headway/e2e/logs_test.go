package e2e_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

// While a container prints without a pause, headway is killed several times.
// The container is the same process all along, and its log holds every line
// once and in order.
func TestKillLosesNoLogLine(t *testing.T) {
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	c.KubectlIn(`apiVersion: v1
kind: Pod
metadata: {name: counter}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: counter
    image: headway.dev/test/busybox:1
    command: [awk, "BEGIN { for (i = 1; ; i++) { print \"line\", i; fflush(); if (i % 20 == 0) system(\"usleep 2000\") } }"]
`, "apply", "-f", "-")
	c.Kubectl("wait", "--for=condition=Ready", "pod/counter", "--timeout=60s")
	// What awk starts is awk, too, until it has become another program.
	var before []string
	c.Eventually(10*time.Second, "the container is one process", func() error {
		if before = c.Processes.List("awk"); len(before) != 1 {
			return fmt.Errorf("the processes are %v", before)
		}
		return nil
	})

	last := 0
	for range 5 {
		// Each round ends only after lines of its own are in the log.
		c.Eventually(30*time.Second, fmt.Sprintf("lines after %d are logged", last), func() error {
			n, err := lastLine(c.Kubectl("logs", "counter", "--tail=1"))
			if err == nil && n <= last+100 {
				err = fmt.Errorf("at line %d", n)
			}
			if err == nil {
				last = n
			}
			return err
		})
		c.Program.Kill()
		c.Up()
		c.Eventually(30*time.Second, "the node answers again", func() error {
			if r := c.Run("", "kubectl", "logs", "counter", "--tail=1"); r.Code != 0 {
				return fmt.Errorf("%s", r.Stderr)
			}
			return nil
		})
	}
	log := strings.Split(strings.TrimSuffix(c.Kubectl("logs", "counter"), "\n"), "\n")
	if len(log) < last {
		t.Errorf("%d lines are logged, %d were there before the last kill", len(log), last)
	}
	for i, line := range log {
		if want := "line " + strconv.Itoa(i+1); line != want {
			t.Fatalf("line %d of the log is %q, want %q", i+1, line, want)
		}
	}
	c.Eventually(10*time.Second, fmt.Sprintf("the container's process is still %v", before), func() error {
		if after := c.Processes.List("awk"); fmt.Sprint(after) != fmt.Sprint(before) {
			return fmt.Errorf("the processes are %v", after)
		}
		return nil
	})
	if got := c.Kubectl("get", "pod", "counter", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); got != "0" {
		t.Errorf("restart count is %s, want 0", got)
	}
	t.Logf("%d lines through 5 kills", len(log))
}

func lastLine(log string) (int, error) {
	return strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(log), "line "))
}
