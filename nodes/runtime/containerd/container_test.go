package containerd_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
)

// output runs a container to its end and returns what it printed.
func output(t *testing.T, n *nodetest.Node, pod runtime.SandboxConfig, cfg runtime.ContainerConfig) string {
	t.Helper()
	c := n.WaitExited(t, n.RunConfig(t, pod, cfg))
	streams := readLog(t, c.LogPath)
	if c.ExitCode != 0 {
		t.Fatalf("container %s exited with %d: %s", cfg.Name, c.ExitCode, streams["stderr"])
	}
	return streams["stdout"]
}

func importImage(t *testing.T, n *nodetest.Node, name string, opts nodetest.ImageOptions) {
	t.Helper()
	if _, err := n.Import(t.Context(), bytes.NewReader(nodetest.OCIArchive(t, name, nodetest.Image(t, opts)))); err != nil {
		t.Fatal(err)
	}
}

func TestExitCodesAndRestarts(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("restarts")
	// Each attempt is alone in its pod: the shim of the one before is just
	// ending when the next one starts.
	for attempt := range 5 {
		c := n.RunConfig(t, pod, runtime.ContainerConfig{Name: "main", Attempt: attempt, Args: []string{"exit", strconv.Itoa(attempt * 7)}})
		got := n.WaitExited(t, c)
		if got.ExitCode != int32(attempt*7) || got.OOMKilled || got.Reason != "" || got.FinishedAt.Before(got.StartedAt) {
			t.Errorf("attempt %d = %+v, want exit code %d", attempt, got, attempt*7)
		}
		if want := filepath.Join("default_restarts_uid-restarts", "main", fmt.Sprintf("%d.log", attempt)); !strings.HasSuffix(got.LogPath, want) {
			t.Errorf("log path = %s, want …/%s", got.LogPath, want)
		}
	}
	p, err := n.Get(t.Context(), pod.UID)
	if err != nil || len(p.Containers) != 5 {
		t.Fatalf("pod has %d containers, %v; want 5", len(p.Containers), err)
	}
	if err := n.RemoveContainer(t.Context(), p.Containers[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := n.RemoveContainer(t.Context(), p.Containers[0].ID); err != nil {
		t.Errorf("second RemoveContainer = %v, want success", err)
	}
	if p, _ = n.Get(t.Context(), pod.UID); len(p.Containers) != 4 {
		t.Errorf("pod has %d containers after removing one, want 4", len(p.Containers))
	}
}

func TestEventsTellOfStartAndExit(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("events")
	c := n.Run(t, pod, "main", "exit", "0")
	deadline := time.After(20 * time.Second)
	for n.Container(t, c).State != runtime.Exited {
		select {
		case e := <-n.Events():
			if e.PodUID != pod.UID {
				t.Errorf("event of pod %q, want %q", e.PodUID, pod.UID)
			}
		case <-deadline:
			t.Fatal("no event by the time the container has exited")
		}
	}
}

func TestCreateIsIdempotent(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("twice")
	cfg := runtime.ContainerConfig{Name: "main", Image: nodetest.ToolImage, Args: []string{"sleep"}}
	if _, err := n.CreateContainer(t.Context(), pod, cfg); err == nil {
		t.Error("CreateContainer without a sandbox succeeded")
	}
	first := n.RunConfig(t, pod, cfg)
	second := n.RunConfig(t, pod, cfg)
	if first.ID != second.ID {
		t.Errorf("IDs %s and %s, want one container", first.ID, second.ID)
	}
	if err := n.RemoveContainer(t.Context(), first.ID); err == nil {
		t.Error("RemoveContainer of a running container succeeded")
	}
}

func TestStartErrorIsAnExit(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("broken")
	if _, err := n.EnsureSandbox(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	c, err := n.CreateContainer(t.Context(), pod, runtime.ContainerConfig{Name: "main", Image: nodetest.ToolImage, Command: []string{"/nope"}})
	if err != nil {
		t.Fatal(err)
	}
	err = n.StartContainer(t.Context(), c.ID)
	if err == nil || !strings.Contains(err.Error(), `exec: "/nope": stat /nope: no such file or directory`) {
		t.Errorf("StartContainer = %v, want what is missing", err)
	}
	got := n.Container(t, c)
	if got.State != runtime.Exited || got.ExitCode != 128 || got.Reason != "StartError" || got.Message == "" {
		t.Errorf("container = %+v, want exited with 128 and StartError", got)
	}
	// The next attempt is not hindered by the one that failed.
	if ok := n.WaitExited(t, n.RunConfig(t, pod, runtime.ContainerConfig{Name: "main", Attempt: 1, Args: []string{"exit", "0"}})); ok.ExitCode != 0 {
		t.Errorf("next attempt = %+v", ok)
	}
}

func TestUnknownImage(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("noimage")
	if _, err := n.EnsureSandbox(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	_, err := n.CreateContainer(t.Context(), pod, runtime.ContainerConfig{Name: "main", Image: "nowhere:1"})
	if !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("CreateContainer = %v, want ErrNotFound", err)
	}
}

func TestStopSignalsAndGrace(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("stop")
	polite := n.Run(t, pod, "polite", "sleep")
	stubborn := n.Run(t, pod, "stubborn", "stubborn")
	waitLog(t, stubborn.LogPath, "ignoring SIGTERM")
	if err := n.StopContainer(t.Context(), polite.ID, time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := n.Container(t, polite); got.State != runtime.Exited || (got.ExitCode != 0 && got.ExitCode != 143) {
		t.Errorf("polite = %+v, want exited by SIGTERM", got)
	}
	if err := n.StopContainer(t.Context(), stubborn.ID, 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if got := n.Container(t, stubborn); got.State != runtime.Exited || got.ExitCode != 137 || got.OOMKilled {
		t.Errorf("stubborn = %+v, want exit code 137, not out of memory", got)
	}
	if err := n.StopContainer(t.Context(), stubborn.ID, time.Minute); err != nil {
		t.Errorf("stopping what has stopped = %v", err)
	}
	if err := n.StopContainer(t.Context(), "nothing", 0); err != nil {
		t.Errorf("stopping what is not there = %v", err)
	}
}

func waitLog(t *testing.T, path, want string) {
	t.Helper()
	nodetest.Eventually(t, 20*time.Second, func() string {
		data, err := os.ReadFile(path)
		if err != nil {
			return err.Error()
		}
		if !strings.Contains(string(data), want) {
			return fmt.Sprintf("log is %q, want %q in it", data, want)
		}
		return ""
	})
}

func TestOutOfMemory(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("hungry")
	c := n.RunConfig(t, pod, runtime.ContainerConfig{
		Name: "main", Args: []string{"eat", "256"}, Resources: runtime.Resources{MemoryBytes: 32 << 20},
	})
	if got := n.WaitExited(t, c); got.ExitCode != 137 || !got.OOMKilled {
		t.Errorf("container = %+v, want 137 and OOMKilled", got)
	}
}

func TestCgroupLimits(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("limited")
	pod.Resources = runtime.Resources{CPUShares: 512, CPUQuota: 80_000, CPUPeriod: 100_000, MemoryBytes: 128 << 20, PidsLimit: 77}
	c := n.RunConfig(t, pod, runtime.ContainerConfig{
		Name: "main", Args: []string{"sleep"},
		Resources: runtime.Resources{CPUShares: 256, CPUQuota: 50_000, CPUPeriod: 100_000, MemoryBytes: 64 << 20, PidsLimit: 33},
	})
	p, err := n.Get(t.Context(), pod.UID)
	if err != nil {
		t.Fatal(err)
	}
	if want := "kubepods/burstable/pod" + pod.UID; p.Sandbox.CgroupPath != want {
		t.Errorf("cgroup = %s, want %s", p.Sandbox.CgroupPath, want)
	}
	for _, want := range []struct{ controller, file, pod, container string }{
		{"cpu", "cpu.shares", "512", "256"},
		{"cpu", "cpu.cfs_quota_us", "80000", "50000"},
		{"cpu", "cpu.cfs_period_us", "100000", "100000"},
		{"memory", "memory.limit_in_bytes", "134217728", "67108864"},
		{"pids", "pids.max", "77", "33"},
	} {
		dir := filepath.Join("/sys/fs/cgroup", want.controller, n.Config.CgroupRoot, p.Sandbox.CgroupPath)
		for path, value := range map[string]string{filepath.Join(dir, want.file): want.pod, filepath.Join(dir, c.ID, want.file): want.container} {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(string(data)); got != value {
				t.Errorf("%s = %s, want %s", path, got, value)
			}
		}
	}
	stats, err := n.Stats(t.Context(), pod.UID)
	if err != nil || len(stats) != 1 || stats[0].Name != "main" || stats[0].CPUNanos == 0 || stats[0].MemoryUsageBytes == 0 || stats[0].WorkingSetBytes > 64<<20 {
		t.Errorf("Stats = %+v, %v; want usage of main", stats, err)
	}
}

func TestUsers(t *testing.T) {
	n := nodetest.Start(t)
	importImage(t, n, "byname:1", nodetest.ImageOptions{User: "app"})
	pod := nodetest.Sandbox("users")
	number := func(i int64) *int64 { return &i }
	for i, c := range []struct {
		image string
		sec   runtime.Security
		want  string
	}{
		{nodetest.ToolImage, runtime.Security{}, "0 0 [0]"},
		{"byname:1", runtime.Security{}, "1234 2345 [2345 3456]"},
		{"byname:1", runtime.Security{RunAsUser: number(1234), RunAsNonRoot: true}, "1234 2345 [2345 3456]"},
		{"byname:1", runtime.Security{RunAsUser: number(1234), RunAsGroup: number(88), SupplementalGroups: []int64{5}}, "1234 88 [5 88 3456]"},
		{nodetest.ToolImage, runtime.Security{RunAsUser: number(77), RunAsGroup: number(88), FSGroup: number(99), SupplementalGroups: []int64{5, 4}}, "77 88 [4 5 88 99]"},
	} {
		got := output(t, n, pod, runtime.ContainerConfig{Name: fmt.Sprintf("u%d", i), Image: c.image, Args: []string{"id"}, Security: c.sec})
		if strings.TrimSpace(got) != c.want {
			t.Errorf("user of %s with %+v = %q, want %q", c.image, c.sec, got, c.want)
		}
	}
	for _, c := range []struct {
		image string
		sec   runtime.Security
		want  string
	}{
		{nodetest.ToolImage, runtime.Security{RunAsNonRoot: true}, `container has runAsNonRoot and image will run as root (pod: "users_default(uid-users)", container: main)`},
		{nodetest.ToolImage, runtime.Security{RunAsNonRoot: true, RunAsUser: number(0)}, `container's runAsUser breaks non-root policy (pod: "users_default(uid-users)", container: main)`},
		{"byname:1", runtime.Security{RunAsNonRoot: true}, `container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root (pod: "users_default(uid-users)", container: main)`},
	} {
		_, err := n.CreateContainer(t.Context(), pod, runtime.ContainerConfig{Name: "main", Image: c.image, Security: c.sec})
		var config *runtime.ConfigError
		if !errors.As(err, &config) || config.Error() != c.want {
			t.Errorf("CreateContainer = %v, want the ConfigError %s", err, c.want)
		}
	}
}

func TestEnvironmentAndFiles(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("files")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "in"), []byte("from the node\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	env := strings.Split(output(t, n, pod, runtime.ContainerConfig{Name: "env", Args: []string{"env"}, Env: []string{"A=1", "B=2", "A=3", "FROM_IMAGE=over"}}), "\n")
	for _, want := range []string{"A=3", "B=2", "FROM_IMAGE=over", "HOSTNAME=files", "PATH=/bin:/usr/bin"} {
		if !slices.Contains(env, want) {
			t.Errorf("environment %q lacks %s", env, want)
		}
	}
	got := output(t, n, pod, runtime.ContainerConfig{
		Name: "read", Args: []string{"read", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/data/in"},
		Mounts: []runtime.Mount{{HostPath: dir, ContainerPath: "/data", ReadOnly: true}},
	})
	if want := "files\n127.0.0.1 localhost\nnameserver 127.0.0.1\nfrom the node\n"; got != want {
		t.Errorf("files in the container = %q, want %q", got, want)
	}
	for i, c := range []struct {
		path     string
		mount    runtime.Mount
		security runtime.Security
		want     bool
	}{
		{"/data/out", runtime.Mount{HostPath: dir, ContainerPath: "/data"}, runtime.Security{}, true},
		{"/data/refused", runtime.Mount{HostPath: dir, ContainerPath: "/data", ReadOnly: true}, runtime.Security{}, false},
		{"/root-file", runtime.Mount{HostPath: dir, ContainerPath: "/data"}, runtime.Security{ReadOnlyRootFilesystem: true}, false},
		{"/proc/sys/kernel/hostname", runtime.Mount{HostPath: dir, ContainerPath: "/data"}, runtime.Security{}, false},
		{"/dev/shm/x", runtime.Mount{HostPath: dir, ContainerPath: "/data"}, runtime.Security{ReadOnlyRootFilesystem: true}, true},
	} {
		got := n.WaitExited(t, n.RunConfig(t, pod, runtime.ContainerConfig{
			Name: fmt.Sprintf("write%d", i), Args: []string{"write", c.path, "x"}, Mounts: []runtime.Mount{c.mount}, Security: c.security,
		}))
		if ok := got.ExitCode == 0; ok != c.want {
			t.Errorf("writing %s with %+v: success %v, want %v", c.path, c.security, ok, c.want)
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, "out")); err != nil || string(data) != "x" {
		t.Errorf("file written by the container = %q, %v", data, err)
	}
	// What one container put into /dev/shm another of the pod reads.
	if got := output(t, n, pod, runtime.ContainerConfig{Name: "shm", Args: []string{"read", "/dev/shm/x"}}); got != "x" {
		t.Errorf("/dev/shm is not shared: %q", got)
	}
}

func TestStreamsAndPartialLines(t *testing.T) {
	n := nodetest.Start(t)
	c := n.WaitExited(t, n.Run(t, nodetest.Sandbox("both"), "main", "both"))
	got := readLog(t, c.LogPath)
	if got["stdout"] != "to stdout\nno newline" || got["stderr"] != "to stderr\n" {
		t.Errorf("log = %q", got)
	}
	data, err := os.ReadFile(c.LogPath)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), " stdout P no newline\n") {
		t.Errorf("log %q has no partial line", data)
	}
}

// One shim serves the whole pod, and what is privileged or not differs.
func TestCapabilitiesSeccompAndShim(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("caps")
	status := func(name string, sec runtime.Security) string {
		return output(t, n, pod, runtime.ContainerConfig{Name: name, Args: []string{"read", "/proc/self/status"}, Security: sec})
	}
	line := func(status, key string) string {
		for l := range strings.Lines(status) {
			if v, ok := strings.CutPrefix(l, key+":"); ok {
				return strings.TrimSpace(v)
			}
		}
		return ""
	}
	// The bits of the default set as Docker and containerd document it.
	plain := status("plain", runtime.Security{})
	if got := line(plain, "CapBnd"); got != "00000000a80425fb" {
		t.Errorf("bounding set = %s, want a80425fb", got)
	}
	if line(plain, "Seccomp") != "0" || line(plain, "NoNewPrivs") != "0" {
		t.Error("seccomp or no_new_privs set though nobody asked")
	}
	strict := status("strict", runtime.Security{
		DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_BIND_SERVICE"}, Seccomp: "RuntimeDefault", NoNewPrivileges: true,
	})
	if line(strict, "CapBnd") != "0000000000000400" || line(strict, "Seccomp") != "2" || line(strict, "NoNewPrivs") != "1" {
		t.Errorf("strict container has %s", strict)
	}
	if line(status("priv", runtime.Security{Privileged: true}), "CapBnd") <= "00000000a80425fb" {
		t.Error("privileged container has no more capabilities")
	}

	n.Run(t, pod, "one", "sleep")
	n.Run(t, pod, "two", "sleep")
	shims := 0
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if cmd, err := os.ReadFile(p); err == nil && bytes.Contains(cmd, []byte("containerd-shim-runc-v2")) && bytes.Contains(cmd, []byte(n.Config.RunDir+"/")) {
			shims++
		}
	}
	if shims != 1 {
		t.Errorf("%d shims run for one pod, want 1", shims)
	}
}
