package containerd_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
)

// shims counts the shim processes of the node's containerd.
func shims(t *testing.T, n *nodetest.Node) int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, line := range lines {
		data, err := os.ReadFile(line)
		if err == nil && bytes.Contains(data, []byte("containerd-shim")) && bytes.Contains(data, []byte(n.Config.RunDir+"/")) {
			count++
		}
	}
	return count
}

// The process may be killed at any moment of a start. The next one starts the
// containers as if nothing had been: none has failed, and no shim is left that
// serves none.
func TestKilledWhileStarting(t *testing.T) {
	n := nodetest.Start(t)
	n.Stop(t)
	for round := range 4 {
		var pods []runtime.SandboxConfig
		for i := range 8 {
			pods = append(pods, nodetest.Sandbox(fmt.Sprintf("cut-%d-%d", round, i)))
		}
		c := startChild(t, n, pods[0], nil, pods...)
		<-time.After(time.Duration(60+round*130) * time.Millisecond) // Not waited for: any moment must do.
		c.kill()
		n.Restart(t)
		nodetest.Eventually(t, 15*time.Second, func() string {
			if have, want := shims(t, n), running(t, n); have > want {
				return fmt.Sprintf("round %d: %d shims for the containers of %d pods", round, have, want)
			}
			return ""
		})
		// As the agent does: what did not work is tried again.
		nodetest.Eventually(t, 60*time.Second, func() string {
			for i, err := range startAll(t.Context(), n.Runtime, pods) {
				if err != nil {
					return fmt.Sprintf("round %d: pod %d: %v", round, i, err)
				}
			}
			return ""
		})
		for _, pod := range pods {
			p, err := n.Get(t.Context(), pod.UID)
			if err != nil || len(p.Containers) != 1 || p.Containers[0].State != runtime.Running {
				t.Errorf("round %d: pod %s is %+v, %v; want its container running", round, pod.Name, p.Containers, err)
			}
			if err := n.RemoveSandbox(t.Context(), pod.PodRef); err != nil {
				t.Errorf("round %d: remove pod %s: %v", round, pod.Name, err)
			}
		}
		nodetest.Eventually(t, 15*time.Second, func() string {
			if have := shims(t, n); have > 0 {
				return fmt.Sprintf("round %d: %d shims without a pod", round, have)
			}
			return ""
		})
		n.Stop(t)
	}
}

// running counts the pods with a running container.
func running(t *testing.T, n *nodetest.Node) int {
	t.Helper()
	pods, err := n.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, p := range pods {
		for _, c := range p.Containers {
			if c.State == runtime.Running {
				count++
				break
			}
		}
	}
	return count
}

// A process that is killed while it reads an image's files leaves a mount, which
// the next one removes.
func TestKilledWhileReadingAnImage(t *testing.T) {
	n := nodetest.Start(t)
	n.Stop(t)
	dir := filepath.Join(n.Config.RunDir, "images", "image-1")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(t.TempDir(), dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	n.Restart(t)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	pod := nodetest.Sandbox("reads")
	if errs := startAll(t.Context(), n.Runtime, []runtime.SandboxConfig{pod}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
