package nodetest

import (
	"fmt"
	"testing"
	"time"

	"headway.dev/nodes/runtime"
)

// Eventually waits until check returns "" and fails with what it last said.
func Eventually(t testing.TB, timeout time.Duration, check func() string) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		problem := check()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %s", timeout, problem)
		}
		time.Sleep(20 * time.Millisecond)
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
func (n *Node) Run(t testing.TB, pod runtime.SandboxConfig, name string, args ...string) runtime.Container {
	t.Helper()
	return n.RunConfig(t, pod, runtime.ContainerConfig{Name: name, Args: args})
}

// RunConfig is Run with a whole configuration; no Image means ToolImage.
func (n *Node) RunConfig(t testing.TB, pod runtime.SandboxConfig, cfg runtime.ContainerConfig) runtime.Container {
	t.Helper()
	if cfg.Image == "" {
		cfg.Image = ToolImage
	}
	if _, err := n.EnsureSandbox(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	c, err := n.CreateContainer(t.Context(), pod, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.StartContainer(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	return c
}

// Container returns the container as List has it.
func (n *Node) Container(t testing.TB, c runtime.Container) runtime.Container {
	t.Helper()
	pod, err := n.Get(t.Context(), c.Pod.UID)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range pod.Containers {
		if got.ID == c.ID {
			return got
		}
	}
	t.Fatalf("container %s is not listed", c.Name)
	return runtime.Container{}
}

// WaitExited waits for a container's end.
func (n *Node) WaitExited(t testing.TB, c runtime.Container) runtime.Container {
	t.Helper()
	var got runtime.Container
	Eventually(t, 60*time.Second, func() string {
		if got = n.Container(t, c); got.State == runtime.Exited {
			return ""
		}
		return fmt.Sprintf("container %s is %s, want exited", c.Name, got.State)
	})
	return got
}
