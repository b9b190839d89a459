package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/e2e"
)

// The whole program stands still for longer than a node may be silent. When it
// goes on, its node was never NotReady, its pods are the same and were never
// unready, and nothing is evicted.
func TestSuspended(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--node-monitor-grace-period=15s")
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	pods := readyPods(t, c, 3)
	before := readiness(t, c)
	c.Program.Suspend()
	time.Sleep(20 * time.Second) //nolint:forbidigo // the pause is what is tested
	resumed := time.Now()
	c.Program.Resume()
	// Twice, so that whatever the pause left to be done has been done.
	c.Eventually(time.Minute, "the node is heard again, and once more", func() error {
		lease, err := c.Client().CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), "node-1", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !lease.Spec.RenewTime.After(resumed.Add(10 * time.Second)) {
			return fmt.Errorf("last heard at %s, resumed at %s", lease.Spec.RenewTime, resumed)
		}
		return nil
	})
	if after := readiness(t, c); after != before {
		t.Errorf("after the pause:\n%s\nbefore it:\n%s", after, before)
	}
	if err := podsAre(c, pods); err != nil {
		t.Error(err)
	}
	for _, e := range events(t, c) {
		if e.Reason == "NodeNotReady" || e.Reason == "TaintManagerEviction" {
			t.Errorf("event %s: %s", e.Reason, e.Message)
		}
	}
}

// readiness is since when the node and the example's pods are ready.
func readiness(t *testing.T, c *e2e.Cluster) string {
	t.Helper()
	lines := []string{readySince(t, c)}
	pods, err := c.Client().CoreV1().Pods("hello").List(t.Context(), metav1.ListOptions{LabelSelector: "app=hello"})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		for _, cond := range pod.Status.Conditions {
			if cond.Type == corev1.PodReady {
				lines = append(lines, fmt.Sprint(pod.Name, " ", cond.Status, " since ", cond.LastTransitionTime))
			}
		}
	}
	return strings.Join(lines, "\n")
}
