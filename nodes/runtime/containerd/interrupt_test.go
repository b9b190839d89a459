package containerd_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
)

// A pod may be deleted at any moment of a container's start. What was started
// is then known as running, to be stopped as any other, and everything can be
// removed.
func TestInterruptedStart(t *testing.T) {
	n := nodetest.Start(t)
	states := map[runtime.ContainerState]int{}
	for i := range 20 {
		pod := nodetest.Sandbox(fmt.Sprintf("interrupted-%d", i))
		if _, err := n.EnsureSandbox(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		c, err := n.CreateContainer(t.Context(), pod, runtime.ContainerConfig{Name: "main", Image: nodetest.ToolImage, Args: []string{"sleep"}})
		if err != nil {
			t.Fatal(err)
		}
		after := time.Duration(i*16) * time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), after)
		err = n.StartContainer(ctx, c.ID)
		cancel()
		state := n.Container(t, c).State
		states[state]++
		if want := map[bool]runtime.ContainerState{true: runtime.Running, false: runtime.Created}[err == nil]; state != want {
			t.Errorf("interrupted after %s: %v, and the container is %s, want %s", after, err, state, want)
		}
		if err := n.RemoveSandbox(t.Context(), pod.PodRef); err != nil {
			t.Fatalf("remove the pod of a start interrupted after %s: %v", after, err)
		}
	}
	if states[runtime.Running] == 0 || states[runtime.Created] == 0 {
		t.Errorf("the states are %v, want some Created and some Running", states)
	}
}
