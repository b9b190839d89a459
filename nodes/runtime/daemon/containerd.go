package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/plugin"
	"golang.org/x/sys/unix"

	"headway.dev/nodes/runtime/fsutil"
)

// maxSocketPath is the longest path of a unix socket: sun_path in unix(7) has
// 108 bytes with the final zero.
const maxSocketPath = 107

// daemonStart bounds how long a containerd may take to answer.
const daemonStart = 30 * time.Second

// Daemon is the private containerd. It is started in a session of its own, so
// that neither a signal to our process group nor our end reaches it, and found
// again by its pid file.
type Daemon struct {
	log *slog.Logger
	// Root and State are containerd's own directories, Socket is where it answers.
	Root, State           string
	config, pidFile, logs string
	Socket                string
}

// SocketIn returns the path of the socket of the private containerd of a run
// directory.
func SocketIn(runDir string) string { return filepath.Join(runDir, "containerd", "c.sock") }

// New describes the private containerd with its files in root and its sockets
// in runDir. It starts nothing.
func New(root, runDir string, log *slog.Logger) (*Daemon, error) {
	d := &Daemon{
		log:     log,
		Root:    filepath.Join(root, "containerd"),
		State:   filepath.Join(runDir, "containerd"),
		config:  filepath.Join(root, "containerd.toml"),
		logs:    filepath.Join(root, "containerd.log"),
		pidFile: filepath.Join(runDir, "containerd.pid"),
	}
	d.Socket = SocketIn(runDir)
	// The longest one containerd makes is that of its ttrpc service.
	if n := len(d.Socket + ".ttrpc"); n > maxSocketPath {
		return nil, fmt.Errorf("containerd's socket %s.ttrpc would have a path of %d bytes, the limit is %d: choose a shorter run directory", d.Socket, n, maxSocketPath)
	}
	return d, nil
}

// configTemplate leaves out what we do not use: the CRI service alone is a
// third of containerd's memory. (1.6 needs its v1 runtime plugin to offer the tasks service.)
var configTemplate = template.Must(template.New("").Parse(`version = 2
root = {{printf "%q" .Root}}
state = {{printf "%q" .State}}
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.internal.v1.restart", "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.monitor.v1.cgroups",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.native", "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = {{printf "%q" .Socket}}

[ttrpc]
  address = {{printf "%q" .TTRPC}}

[debug]
  level = "warn"
`))

func (d *Daemon) writeConfig() error {
	var b bytes.Buffer
	if err := configTemplate.Execute(&b, struct{ Root, State, Socket, TTRPC string }{d.Root, d.State, d.Socket, d.Socket + ".ttrpc"}); err != nil {
		return err
	}
	return fsutil.WriteFile(d.config, b.Bytes())
}

// Ensure makes sure that our containerd runs and answers: it adopts the one of
// a previous run, or starts one.
func (d *Daemon) Ensure(ctx context.Context) error {
	pid := d.pid()
	if pid == 0 {
		var err error
		if pid, err = d.start(); err != nil {
			return fmt.Errorf("start containerd: %w", err)
		}
		d.log.Info("started containerd", "pid", pid, "socket", d.Socket)
	}
	ctx, cancel := context.WithTimeout(ctx, daemonStart)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := dialUnix(ctx, d.Socket)
		if err == nil {
			return conn.Close()
		}
		if d.pid() == 0 {
			return fmt.Errorf("containerd ended before it answered: %s", d.logTail())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("containerd (pid %d) does not answer on %s: %w; see %s", pid, d.Socket, err, d.logs)
		case <-tick.C:
		}
	}
}

// Open makes sure that our containerd runs, and connects to it. One that is killed
// meanwhile is started again, some times.
func (d *Daemon) Open(ctx context.Context, namespace string) (client *containerd.Client, err error) {
	for range 3 {
		if err = d.Ensure(ctx); err == nil {
			client, err = Connect(ctx, d.Socket, namespace)
		} else if d.pid() != 0 {
			return nil, err
		}
		if err == nil || ctx.Err() != nil {
			return client, err
		}
		// A process that is killed no longer answers, and is there for a moment still.
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil, err
}

func (d *Daemon) start() (int, error) {
	binary, err := exec.LookPath("containerd")
	if err != nil {
		return 0, fmt.Errorf("%w: install the package containerd, or name a running one with --containerd-address", err)
	}
	for _, dir := range []string{d.Root, d.State} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return 0, err
		}
	}
	if err := d.writeConfig(); err != nil {
		return 0, err
	}
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if st, err := os.Stat(d.logs); err == nil && st.Size() > 10<<20 {
		flags |= os.O_TRUNC
	}
	logs, err := os.OpenFile(d.logs, flags, 0o600)
	if err != nil {
		return 0, err
	}
	defer logs.Close()
	cmd := exec.CommandContext(context.Background(), binary, "--config", d.config)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = logs, logs
	// The shims inherit it: both are small programs that gain nothing from a
	// lazy collector.
	cmd.Env = append(os.Environ(), "GOGC=40", "GOMEMLIMIT=96MiB")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid := cmd.Process.Pid
	if err := fsutil.WriteFile(d.pidFile, []byte(strconv.Itoa(pid))); err != nil {
		return 0, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	// It outlives us, so nobody waits for it; pid() reaps it if it ends first.
	return pid, cmd.Process.Release()
}

// pid returns the process ID of our running containerd, or zero.
func (d *Daemon) pid() int {
	data, err := os.ReadFile(d.pidFile)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 {
		return 0
	}
	// A child that has ended stays a zombie until waited for; for a process
	// that is not our child this does nothing.
	_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	// After a reboot the number may be somebody else's: another program's, or
	// a kernel thread's, which has no executable. Within execve(2) a process
	// has no command line for a moment.
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return 0
	}
	if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil {
		return 0
	}
	if len(cmdline) > 0 && !bytes.Contains(cmdline, []byte(d.config)) {
		return 0
	}
	return pid
}

// Stop ends containerd; its shims must have ended before.
func (d *Daemon) Stop(ctx context.Context) error {
	signal := unix.SIGTERM
	deadline := time.Now().Add(10 * time.Second)
	for {
		pid := d.pid()
		if pid == 0 {
			return nil
		}
		if err := unix.Kill(pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("stop containerd (pid %d): %w", pid, err)
		}
		if time.Now().After(deadline) {
			signal = unix.SIGKILL
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stop containerd (pid %d): %w", pid, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (d *Daemon) logTail() string {
	f, err := os.Open(d.logs)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > 2000 {
		_, _ = f.Seek(-2000, io.SeekEnd)
	}
	tail, _ := io.ReadAll(io.LimitReader(f, 2000))
	return strings.TrimSpace(string(tail))
}

// Connect creates the client and checks that the other end answers.
func Connect(ctx context.Context, address, namespace string) (*containerd.Client, error) {
	// The library takes a relative path for a host name.
	if !filepath.IsAbs(address) {
		return nil, fmt.Errorf("containerd address %q must be the absolute path of a unix socket", address)
	}
	// The library waits for the socket to appear.
	if _, err := os.Stat(address); err != nil {
		return nil, fmt.Errorf("no containerd at %s: %w", address, err)
	}
	// Without a default runtime the library asks for one at once, and leaves the
	// connection open when that fails.
	client, err := containerd.New(address, containerd.WithDefaultNamespace(namespace),
		containerd.WithDefaultRuntime(plugin.RuntimeRuncV2), containerd.WithTimeout(daemonStart))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd at %s: %w", address, err)
	}
	if _, err := client.Version(ctx); err != nil {
		err = errors.Join(err, client.Close())
		return nil, fmt.Errorf("ask containerd at %s for its version: %w", address, err)
	}
	return client, nil
}
