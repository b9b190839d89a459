package containerd_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"testing"

	"headway.dev/nodes/network"
	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/containerd"
)

// childEnv makes the test program own a runtime instead of testing one: a
// process that can be killed.
const childEnv = "HEADWAY_RUNTIME_TEST_CHILD"

// childConfig is what the child is told: the node's names and a container to
// run, if any.
type childConfig struct {
	Runtime containerd.Config
	Network network.Config
	Pod     runtime.SandboxConfig
	Run     *runtime.ContainerConfig
	Pods    []runtime.SandboxConfig // to start one container each of, side by side, after "ready"
}

// childMain starts the runtime, says so, and waits to be killed.
func childMain() int {
	if err := runChild(); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		return 1
	}
	return 0
}

func runChild() error {
	var cfg childConfig
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &cfg); err != nil {
		return err
	}
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	net, err := network.New(cfg.Network, log)
	if err != nil {
		return err
	}
	cfg.Runtime.Network, cfg.Runtime.Log = net, log
	r, err := containerd.Start(ctx, cfg.Runtime)
	if err != nil {
		return err
	}
	if cfg.Run != nil {
		if _, err := r.EnsureSandbox(ctx, cfg.Pod); err != nil {
			return err
		}
		c, err := r.CreateContainer(ctx, cfg.Pod, *cfg.Run)
		if err != nil {
			return err
		}
		if err := r.StartContainer(ctx, c.ID); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	startAll(ctx, r, cfg.Pods)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startAll starts a container in each pod, side by side. The errors are by the
// container's pod.
func startAll(ctx context.Context, r *containerd.Runtime, pods []runtime.SandboxConfig) []error {
	errs := make([]error, len(pods))
	var wg sync.WaitGroup
	for i, pod := range pods {
		wg.Go(func() {
			if _, err := r.EnsureSandbox(ctx, pod); err != nil {
				errs[i] = err
				return
			}
			c, err := r.CreateContainer(ctx, pod, runtime.ContainerConfig{Name: "main", Image: nodetest.ToolImage, Args: []string{"sleep"}})
			if err != nil {
				errs[i] = err
				return
			}
			errs[i] = r.StartContainer(ctx, c.ID)
		})
	}
	wg.Wait()
	return errs
}

// child is a running one.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

// startChild runs a process that owns the node's runtime, and returns when it
// has adopted everything and started what it is to run.
func startChild(t *testing.T, n *nodetest.Node, pod runtime.SandboxConfig, run *runtime.ContainerConfig, pods ...runtime.SandboxConfig) *child {
	t.Helper()
	cfg := childConfig{Runtime: n.Config, Network: n.NetConf, Pod: pod, Run: run, Pods: pods}
	cfg.Runtime.Log, cfg.Runtime.Network = nil, nil
	data, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.CommandContext(context.Background(), self)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(data))
	c.cmd.Stderr = os.Stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("child said %q, %v; want ready", line, err)
	}
	return c
}

// kill is kill -9.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	_ = c.stdin.Close()
}
