package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Cluster is a running `headway up`.
type Cluster struct {
	DataDir string
	// Remote is the repository that the cluster follows, Clone a clone of it
	// to work in.
	Remote, Clone string
	// HTTP sends requests from the node.
	HTTP *http.Client

	tb     testing.TB
	id     string
	flags  []string
	cmd    *exec.Cmd
	exited chan struct{}
	output *output
	// kube is made at the first use, and kept: a handshake for each question
	// would take much of the machine.
	mu   sync.Mutex
	kube kubernetes.Interface
	// started is how much had been printed when the program was last started.
	started int
}

// Start runs a cluster on the example repository and waits until it answers.
// flags are added to those of `headway up`.
func Start(tb testing.TB, flags ...string) *Cluster {
	tb.Helper()
	c := New(tb, flags...)
	c.Up()
	c.CloneRemote()
	return c
}

// New prepares a cluster's directories and network and starts nothing.
func New(tb testing.TB, flags ...string) *Cluster {
	tb.Helper()
	var random [3]byte
	if _, err := rand.Read(random[:]); err != nil {
		tb.Fatal(err)
	}
	id := "hwe2e" + hex.EncodeToString(random[:])
	// Not t.TempDir(): its long path does not leave room for socket names.
	dir, err := os.MkdirTemp("", "hw-") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	c := &Cluster{
		DataDir: filepath.Join(dir, "data"),
		Clone:   filepath.Join(dir, "clone"),
		HTTP:    httpIn(id),
		tb:      tb, id: id, flags: flags, output: &output{},
	}
	c.Remote = filepath.Join(c.DataDir, "repo.git")
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("leftovers in the test's directory: %v", err)
		}
	})
	newNetNS(tb, id)
	tb.Cleanup(c.cleanup)
	return c
}

// AddFlags adds flags to those of `headway up`, before its start.
func (c *Cluster) AddFlags(flags ...string) { c.flags = append(c.flags, flags...) }

// upArgs is the command line of the cluster.
func (c *Cluster) upArgs() []string {
	return append([]string{
		"up", "--data-dir", c.DataDir, "--images-dir", images, "--node-name", "node-1",
		"--cgroup-root", c.id, "--listen", "127.0.0.1:6443", "--settle", "1s",
	}, c.flags...)
}

// Up starts the program and waits until the API answers.
func (c *Cluster) Up() {
	c.tb.Helper()
	c.Spawn()
	c.Eventually(time.Minute, "the API answers", func() error {
		select {
		case <-c.exited:
			c.tb.Fatalf("headway up ended: %v\n%s", c.cmd.ProcessState, c.output)
		default:
		}
		client, err := c.client()
		if err != nil {
			return err
		}
		_, err = client.Discovery().ServerVersion()
		return err
	})
}

// Spawn starts the program and does not wait.
func (c *Cluster) Spawn() {
	c.tb.Helper()
	if err := os.MkdirAll(c.cpuacct(), 0o755); err != nil {
		c.tb.Fatal(err)
	}
	enter := "echo $$ > " + filepath.Join(c.cpuacct(), "cgroup.procs") + ` && exec "$@"`
	c.cmd = c.in(context.Background(), append([]string{"sh", "-c", enter, "up", headway}, c.upArgs()...)...)
	c.cmd.Stdout, c.cmd.Stderr = c.output, c.output
	c.started = len(c.output.String())
	if err := c.cmd.Start(); err != nil {
		c.tb.Fatalf("start headway up: %v", err)
	}
	exited := make(chan struct{})
	c.exited = exited
	go func(cmd *exec.Cmd) {
		defer close(exited)
		// How it ended is in cmd.ProcessState.
		_ = cmd.Wait()
	}(c.cmd)
}

// Kill ends the program with SIGKILL.
func (c *Cluster) Kill() {
	c.tb.Helper()
	c.signal(syscall.SIGKILL)
}

// Stop ends the program as Ctrl-C does.
func (c *Cluster) Stop() {
	c.tb.Helper()
	c.signal(syscall.SIGINT)
}

// Suspend stops the program where it is, as a laptop's lid does. Resume lets it
// go on.
func (c *Cluster) Suspend() {
	c.tb.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		c.tb.Fatal(err)
	}
}

// Resume lets a suspended program go on.
func (c *Cluster) Resume() {
	c.tb.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		c.tb.Fatal(err)
	}
}

func (c *Cluster) signal(signal syscall.Signal) {
	c.tb.Helper()
	if err := c.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.tb.Fatalf("send %s to headway: %v", signal, err)
	}
	select {
	case <-c.exited:
	case <-time.After(time.Minute):
		c.tb.Fatalf("headway did not end within a minute of %s\n%s", signal, c.output)
	}
}

// in is a command in the cluster's network namespace.
func (c *Cluster) in(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + c.id}, args...)...)
	cmd.Env = append(os.Environ(),
		"KUBECONFIG="+filepath.Join(c.DataDir, "kubeconfig"),
		"HOME="+filepath.Dir(c.DataDir),
		"GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com",
		"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
		"GORACE=halt_on_error=0",
	)
	return cmd
}

// Result is what a command did.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Run runs a command in the cluster's network namespace, with the given
// standard input.
func (c *Cluster) Run(stdin string, args ...string) Result {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := c.in(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.tb.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	if ctx.Err() != nil {
		c.tb.Fatalf("%s: no end after two minutes\n%s%s", strings.Join(args, " "), &stdout, &stderr)
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Headway runs a headway command against the cluster.
func (c *Cluster) Headway(args ...string) Result {
	c.tb.Helper()
	return c.Run("", append([]string{headway, "--data-dir", c.DataDir}, args...)...)
}

// Kubectl runs the machine's kubectl and fails the test if that fails.
func (c *Cluster) Kubectl(args ...string) string {
	c.tb.Helper()
	return c.must(c.Run("", append([]string{"kubectl"}, args...)...), "kubectl", args)
}

// KubectlIn is Kubectl with a standard input.
func (c *Cluster) KubectlIn(stdin string, args ...string) string {
	c.tb.Helper()
	return c.must(c.Run(stdin, append([]string{"kubectl"}, args...)...), "kubectl", args)
}

func (c *Cluster) must(r Result, name string, args []string) string {
	c.tb.Helper()
	if r.Code != 0 {
		c.tb.Fatalf("%s %s: exit code %d\n%s%s", name, strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

func (c *Cluster) client() (kubernetes.Interface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kube != nil {
		return c.kube, nil
	}
	config, err := c.Config()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	c.kube = client
	return client, nil
}

// Config reaches the API from inside the cluster's network namespace.
func (c *Cluster) Config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.DataDir, "kubeconfig"))
	if err != nil {
		return nil, err
	}
	config.Dial = dialIn(c.id)
	config.QPS = -1
	return config, nil
}

// Client reaches the API as the administrator.
func (c *Cluster) Client() kubernetes.Interface {
	c.tb.Helper()
	client, err := c.client()
	if err != nil {
		c.tb.Fatal(err)
	}
	return client
}

// Eventually calls check until it succeeds, and fails the test if it has not
// after the limit.
func (c *Cluster) Eventually(limit time.Duration, what string, check func() error) {
	c.tb.Helper()
	deadline := time.Now().Add(limit)
	for pause := 50 * time.Millisecond; ; pause = min(pause*5/4, 400*time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.tb.Fatalf("after %s not: %s: %v\n--- headway's output:\n%s", limit, what, err, c.output.tail(60))
		}
		time.Sleep(pause) //nolint:forbidigo // polls an effect seen from outside
	}
}

// Output is what headway up printed so far.
func (c *Cluster) Output() string { return c.output.String() }

// OutputSinceStart is what it printed since it was last started.
func (c *Cluster) OutputSinceStart() string { return c.output.String()[c.started:] }

// cleanup ends the cluster and finds what it leaves behind.
func (c *Cluster) cleanup() {
	if c.cmd != nil {
		if c.tb.Failed() {
			c.tb.Logf("--- pods and events:\n%s", c.Run("", "kubectl", "get", "pods,events", "-A", "-o", "wide", "--request-timeout=10s").Stdout)
		}
		c.Stop()
	}
	if c.tb.Failed() {
		c.tb.Logf("--- headway's output:\n%s", c.output.tail(200))
	}
	if strings.Contains(c.output.String(), "WARNING: DATA RACE") {
		c.tb.Errorf("headway has a data race:\n%s", c.output)
	}
	if c.cmd == nil {
		return
	}
	if r := c.Headway("cleanup", "--yes", "--cgroup-root", c.id); r.Code != 0 {
		c.tb.Errorf("headway cleanup: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	c.nothingLeft(func() []string {
		if err := os.Remove(c.cpuacct()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return []string{err.Error()}
		}
		return nil
	})
	c.NoLeaks(c.DataDir)
}

// output collects what a program prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (o *output) tail(lines int) string {
	all := strings.Split(o.String(), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
