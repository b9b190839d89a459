package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

// The program alone runs its example: there is no other image on the machine.
func TestProgramAloneRunsItsExample(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir=")
	if e2e.Race { // takes far more memory than the example may have
		c.Clone.Replace("apps/hello/base/deployment.yaml", "memory: 64Mi", "memory: 1Gi")
		c.Clone.Push("Leave room for the race detector")
	}
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	readyPods(t, c, 3)
	c.Eventually(30*time.Second, "the Service answers", func() error {
		return answers(c, "http://"+serviceIP(t, c), "Hello from Git! (web 1.0.0 on hello-")
	})
	c.Eventually(time.Minute, "only pods that never restarted are there", func() error {
		restarts := c.Kubectl("get", "pods", "-n", "hello", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}")
		if restarts != "0 0 0" {
			return fmt.Errorf("restarts of the example's pods: %s", restarts)
		}
		return nil
	})
}
