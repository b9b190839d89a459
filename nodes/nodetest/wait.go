package nodetest

import (
	"fmt"
	"testing"
	"time"

	"headway.dev/nodes/runtime"
)

// Eventually waits until check returns "" and fails with what it last said.
func Eventually(tb testing.TB, timeout time.Duration, check func() string) {
	tb.Helper()
	deadline := time.Now().Add(timeout)
	for {
		problem := check()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("after %s: %s", timeout, problem)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// Sandbox returns the configuration of a pod's sandbox with names of its own.
func Sandbox(name string) runtime.SandboxConfig {
	return runtime.SandboxConfig{
		PodRef:   runtime.PodRef{Namespace: "default", Name: name, UID: "uid-" + name},
		Hostname: name, QOSClass: "Burstable",
		Hosts: "127.0.0.1 localhost\n", ResolvConf: "nameserver 127.0.0.1\n",
	}
}

// Run makes the pod's sandbox if needed, and creates and starts a container of
// ToolImage with these arguments.
func (n *Node) Run(tb testing.TB, pod runtime.SandboxConfig, name string, args ...string) runtime.Container {
	tb.Helper()
	return n.RunConfig(tb, pod, runtime.ContainerConfig{Name: name, Args: args})
}

// RunConfig is Run with a whole configuration; no Image means ToolImage.
func (n *Node) RunConfig(tb testing.TB, pod runtime.SandboxConfig, cfg runtime.ContainerConfig) runtime.Container {
	tb.Helper()
	if cfg.Image == "" {
		cfg.Image = ToolImage
	}
	if _, err := n.EnsureSandbox(tb.Context(), pod); err != nil {
		tb.Fatal(err)
	}
	c, err := n.CreateContainer(tb.Context(), pod, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	if err := n.StartContainer(tb.Context(), c.ID); err != nil {
		tb.Fatal(err)
	}
	return c
}

// Container returns the container as List has it.
func (n *Node) Container(tb testing.TB, c runtime.Container) runtime.Container {
	tb.Helper()
	pod, err := n.Get(tb.Context(), c.Pod.UID)
	if err != nil {
		tb.Fatal(err)
	}
	for _, got := range pod.Containers {
		if got.ID == c.ID {
			return got
		}
	}
	tb.Fatalf("container %s is not listed", c.Name)
	return runtime.Container{}
}

// WaitExited waits for a container's end.
func (n *Node) WaitExited(tb testing.TB, c runtime.Container) runtime.Container {
	tb.Helper()
	var got runtime.Container
	Eventually(tb, 60*time.Second, func() string {
		if got = n.Container(tb, c); got.State == runtime.Exited {
			return ""
		}
		return fmt.Sprintf("container %s is %s, want exited", c.Name, got.State)
	})
	return got
}
