package e2e_test

import (
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

// The program alone runs its example: there is no other image on the machine.
func TestProgramAloneRunsItsExample(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir=")
	c.Deployed(c.Git("rev-parse", "HEAD"))
	readyPods(t, c, 3)
	c.Eventually(30*time.Second, "the Service answers", func() error {
		return answers(c, "http://"+serviceIP(t, c), "Hello from Git! (web 1.0.0 on hello-")
	})
	if restarts := c.Kubectl("get", "pods", "-n", "hello", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}"); restarts != "0 0 0" {
		t.Errorf("restarts of the example's pods: %s", restarts)
	}
}
