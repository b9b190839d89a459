package containerd_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"headway.dev/nodes/network"
	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/containerd"
)

// readLog returns what a container printed, by stream, with partial lines put
// together.
func readLog(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	printed := map[string]*strings.Builder{"stdout": {}, "stderr": {}}
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(f) != 4 || printed[f[1]] == nil || (f[2] != "F" && f[2] != "P") {
			t.Fatalf("log line %q is not in the CRI format", line)
		}
		if _, err := time.Parse(time.RFC3339Nano, f[0]); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		printed[f[1]].WriteString(f[3])
		if f[2] == "F" {
			printed[f[1]].WriteByte('\n')
		}
	}
	return map[string]string{"stdout": printed["stdout"].String(), "stderr": printed["stderr"].String()}
}

func wantLines(count int) string {
	var b strings.Builder
	for i := range count {
		fmt.Fprintf(&b, "line %d %s\n", i, strings.Repeat("x", i%97))
	}
	return b.String()
}

// firstDifference shows where two texts part.
func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d is %q, want %q (%d lines, want %d)", i, g[i], w[i], len(g), len(w))
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

func TestLogIsExactAcrossKills(t *testing.T) {
	n := nodetest.Start(t)
	n.Stop(t)
	pod := nodetest.Sandbox("talker")
	const count = 60000
	c := startChild(t, n, pod, &runtime.ContainerConfig{Name: "main", Image: nodetest.ToolImage, Args: []string{"lines", strconv.Itoa(count), "8000"}})
	for i := range 8 {
		<-time.After(time.Duration(100+i*37) * time.Millisecond) // Not waited for: any moment must do.
		c.kill()
		c = startChild(t, n, pod, nil)
	}
	c.kill()
	n.Restart(t)
	p, err := n.Get(t.Context(), pod.UID)
	if err != nil || len(p.Containers) != 1 {
		t.Fatalf("pod after the kills = %+v, %v; want one container", p, err)
	}
	got := n.WaitExited(t, p.Containers[0])
	if got.ExitCode != 0 {
		t.Errorf("exit code = %d, want 0", got.ExitCode)
	}
	if printed, want := readLog(t, got.LogPath)["stdout"], wantLines(count); printed != want {
		t.Errorf("log differs from what was printed: %s", firstDifference(printed, want))
	}
}

func TestContainersSurviveTheAgent(t *testing.T) {
	n := nodetest.Start(t)
	n.Stop(t)
	pod := nodetest.Sandbox("survivor")
	c := startChild(t, n, pod, &runtime.ContainerConfig{
		Name: "main", Image: nodetest.ToolImage, Args: []string{"serve"},
		Labels: map[string]string{"hash": "abc"},
	})
	c.kill()
	n.Restart(t)
	p, err := n.Get(t.Context(), pod.UID)
	if err != nil || len(p.Containers) != 1 || p.Sandbox == nil {
		t.Fatalf("adopted pod = %+v, %v", p, err)
	}
	got := p.Containers[0]
	if got.State != runtime.Running || got.Name != "main" || got.Pod != pod.PodRef || got.Labels["hash"] != "abc" || got.StartedAt.IsZero() {
		t.Errorf("adopted container = %+v, want as it was", got)
	}
	cgroup := filepath.Join(p.Sandbox.CgroupPath, got.ID)
	before := pidsOf(t, n, cgroup)
	nodetest.Get(t, "http://"+p.Sandbox.IPs[0]+":8080/")
	n.Restart(t)
	if after := pidsOf(t, n, cgroup); !slices.Equal(before, after) || len(after) != 1 {
		t.Errorf("processes = %v before, %v after a restart; want the same one", before, after)
	}
	if again, err := n.EnsureSandbox(t.Context(), pod); err != nil || again.IPs[0] != p.Sandbox.IPs[0] {
		t.Errorf("EnsureSandbox after a restart = %+v, %v; want address %s", again, err, p.Sandbox.IPs[0])
	}
}

func TestExitWhileTheAgentIsDead(t *testing.T) {
	n := nodetest.Start(t)
	n.Stop(t)
	pod := nodetest.Sandbox("brief")
	c := startChild(t, n, pod, &runtime.ContainerConfig{Name: "main", Image: nodetest.ToolImage, Args: []string{"serve"}})
	state := mustGet(t, n, c, pod)
	resp := nodetest.Get(t, "http://"+state.Sandbox.IPs[0]+":8080/hostname")
	if resp != "brief\n" {
		t.Fatalf("host name = %q", resp)
	}
	// The agent is dead by now; /crash ends the program with code 3.
	client(t, "http://"+state.Sandbox.IPs[0]+":8080/crash")
	died := time.Now()
	n.Restart(t)
	got := n.WaitExited(t, state.Containers[0])
	if got.ExitCode != 3 || got.OOMKilled || got.FinishedAt.IsZero() || got.FinishedAt.After(died.Add(time.Second)) {
		t.Errorf("container = %+v, want exit code 3 at the time it died", got)
	}
	if out := readLog(t, got.LogPath)["stdout"]; out != "serving on :8080\n" {
		t.Errorf("log = %q", out)
	}
	// The record must outlive another restart too, though the task is gone.
	n.Restart(t)
	if again := n.Container(t, got); again.ExitCode != 3 || !again.FinishedAt.Equal(got.FinishedAt) || !again.StartedAt.Equal(got.StartedAt) {
		t.Errorf("after another restart = %+v, want as before: %+v", again, got)
	}
}

// mustGet reads the pod while no agent runs: it starts one, asks, waits until
// the log has what the container prints at its start, and stops it: what a
// container prints and leaves behind while no agent runs ends with it.
func mustGet(t *testing.T, n *nodetest.Node, c *child, pod runtime.SandboxConfig) runtime.Pod {
	t.Helper()
	c.kill()
	n.Restart(t)
	defer n.Stop(t)
	p, err := n.Get(t.Context(), pod.UID)
	if err != nil || p.Sandbox == nil || len(p.Containers) == 0 {
		t.Fatalf("pod = %+v, %v", p, err)
	}
	nodetest.Eventually(t, 15*time.Second, func() string {
		if data, err := os.ReadFile(p.Containers[0].LogPath); err != nil || len(data) == 0 {
			return fmt.Sprintf("log = %q, %v", data, err)
		}
		return ""
	})
	return p
}

// client asks once and does not mind how it ends.
func client(t *testing.T, url string) {
	t.Helper()
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	if resp, err := c.Do(nodetest.Request(t, url)); err == nil {
		resp.Body.Close()
	}
}

func containerdPID(t *testing.T, n *nodetest.Node) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(n.Config.RunDir, "containerd.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestContainerdIsAdoptedAndRestarted(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("steady")
	c := n.Run(t, pod, "main", "serve")
	p, err := n.Get(t.Context(), pod.UID)
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + p.Sandbox.IPs[0] + ":8080"
	first := containerdPID(t, n)
	n.Restart(t)
	if again := containerdPID(t, n); again != first {
		t.Errorf("containerd's pid = %d after a restart of the agent, want %d", again, first)
	}
	before := pidsOf(t, n, filepath.Join(p.Sandbox.CgroupPath, c.ID))

	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	nodetest.Get(t, url+"/")
	nodetest.Eventually(t, 20*time.Second, func() string {
		if pid := containerdPID(t, n); pid == first {
			return "containerd was not started again"
		}
		return ""
	})
	if after := pidsOf(t, n, filepath.Join(p.Sandbox.CgroupPath, c.ID)); !slices.Equal(before, after) {
		t.Errorf("processes = %v after containerd's death, want %v", after, before)
	}
	// The exit is seen through the new one, and new pods start.
	client(t, url+"/crash")
	if got := n.WaitExited(t, c); got.ExitCode != 3 {
		t.Errorf("exit code = %d, want 3", got.ExitCode)
	}
	other := n.Run(t, nodetest.Sandbox("later"), "main", "exit", "4")
	if got := n.WaitExited(t, other); got.ExitCode != 4 {
		t.Errorf("exit code = %d, want 4", got.ExitCode)
	}
}

func TestOneOwnerForARoot(t *testing.T) {
	n := nodetest.Start(t)
	_, err := containerd.Start(t.Context(), n.Config)
	if err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("second Start = %v, want an error that says the directory is in use", err)
	}
}

func TestLongRunDirIsRefused(t *testing.T) {
	n := nodetest.Names(t)
	cfg := n.Config
	cfg.RunDir = filepath.Join(cfg.RunDir, strings.Repeat("x", 100))
	net, err := network.New(n.NetConf, cfg.Log)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Network = net
	_, err = containerd.Start(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("Start = %v, want an error that names the limit", err)
	}
}

// The private containerd is killed while a runtime starts: it is started again, and what
// ran is adopted.
func TestContainerdKilledWhileAdopting(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("kept")
	for _, err := range startAll(t.Context(), n.Runtime, []runtime.SandboxConfig{pod}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := containerdPID(t, n)
	for round := range 6 {
		n.Stop(t)
		killed := make(chan error, 1)
		go func(pid int) {
			<-time.After(time.Duration(round*round*4) * time.Millisecond) // Not waited for: any moment must do.
			killed <- unix.Kill(pid, unix.SIGKILL)
		}(before)
		n.Restart(t)
		if _, err := n.Version(t.Context()); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if err := <-killed; err != nil {
			t.Fatal(err)
		}
		nodetest.Eventually(t, time.Minute, func() string {
			_, err := n.Version(t.Context())
			after := containerdPID(t, n)
			if p, gone := n.Get(t.Context(), pod.UID); err != nil || gone != nil || after == before || len(p.Containers) != 1 || p.Containers[0].State != runtime.Running {
				return fmt.Sprintf("round %d: containerd is process %d, was %d (%v); the pod is %+v", round, after, before, err, p)
			}
			return ""
		})
		before = containerdPID(t, n)
	}
}
