package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// NodeAddress is the node's own address in every test's network namespace.
const NodeAddress = "192.168.66.1"

// Node is the machine of a cluster under test: a network namespace, a root of
// cgroups and a directory of its own.
type Node struct {
	// DataDir is the program's.
	DataDir string
	// HTTP sends requests from the node.
	HTTP *http.Client

	tb     testing.TB
	id     string
	output *output // of the program
}

// newNetNS makes a network namespace with a loopback and one network, so that
// clusters under test share neither interfaces nor rules nor ports with the
// machine or with each other.
func newNetNS(tb testing.TB, name string) {
	tb.Helper()
	command(tb, "ip", "netns", "add", name)
	tb.Cleanup(func() { command(tb, "ip", "netns", "delete", name) })
	for _, args := range []string{
		"link set lo up",
		"link add eth0 type veth peer name eth0-peer",
		"link set eth0-peer up",
		"address add " + NodeAddress + "/24 dev eth0",
		"link set eth0 up",
		"route add default dev eth0",
	} {
		command(tb, "ip", append([]string{"-n", name}, strings.Fields(args)...)...)
	}
}

// command also runs in cleanups, after the end of the test's context.
func command(tb testing.TB, name string, args ...string) {
	tb.Helper()
	if out, err := exec.CommandContext(context.WithoutCancel(tb.Context()), name, args...).CombinedOutput(); err != nil {
		tb.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// dial dials from inside the network namespace.
func (n *Node) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return dialIn(ctx, "/run/netns/"+n.id, network, address)
}

// dialIn dials from inside a network namespace.
func dialIn(ctx context.Context, path, network, address string) (conn net.Conn, err error) {
	err = within(path, func() (err error) {
		conn, err = (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// within calls f on a thread that is in a network namespace.
func within(path string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread is not unlocked, so that it ends with the goroutine
		// and no other goroutine ever runs in the namespace.
		runtime.LockOSThread()
		ns, err := netns.GetFromPath(path)
		if err != nil {
			done <- fmt.Errorf("open network namespace %s: %w", path, err)
			return
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("enter network namespace %s: %w", path, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Pod is a client inside the network namespace of a pod of the node.
func (n *Node) Pod(uid string) *http.Client {
	n.tb.Helper()
	return client(n.dialPod(uid))
}

// PodResolver asks the cluster's name server from inside the network namespace of a pod
// of the node.
func (n *Node) PodResolver(uid string) *net.Resolver {
	n.tb.Helper()
	dial := n.dialPod(uid)
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dial(ctx, network, nameServer)
	}}
}

// nameServer is where a node answers by default.
const nameServer = "169.254.53.53:53"

// dialPod dials from inside the network namespace of a pod of the node.
func (n *Node) dialPod(uid string) func(ctx context.Context, network, address string) (net.Conn, error) {
	n.tb.Helper()
	return n.InPod(uid).Dial
}

// Place is a network namespace that tests are a program in.
type Place struct {
	tb   testing.TB
	path string
}

// Dial dials from there.
func (p Place) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return dialIn(ctx, p.path, network, address)
}

// Here is the node's own network.
func (n *Node) Here() Place { return Place{n.tb, "/run/netns/" + n.id} }

// InPod is the network of a pod of the node.
func (n *Node) InPod(uid string) Place {
	n.tb.Helper()
	data, err := os.ReadFile(filepath.Join(n.DataDir, "network", uid+".json"))
	var lease struct{ NetNS string }
	if err == nil {
		err = json.Unmarshal(data, &lease)
	}
	if err != nil {
		n.tb.Fatalf("the network of pod %s: %v", uid, err)
	}
	return Place{n.tb, lease.NetNS}
}

// http is a client inside the network namespace that opens a connection for
// each request, as the requests of many clients do.
func (n *Node) http() *http.Client { return client(n.dial) }

func client(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Client {
	return &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
	}
}

// listen listens in the network namespace.
func (n *Node) listen(address string) net.Listener {
	n.tb.Helper()
	return n.Here().Listen(address)
}

// Listen listens there.
func (p Place) Listen(address string) net.Listener {
	p.tb.Helper()
	var listener net.Listener
	err := within(p.path, func() (err error) {
		listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
		return err
	})
	if err != nil {
		p.tb.Fatalf("listen on %s in network namespace %s: %v", address, p.path, err)
	}
	return listener
}

// in is a command in the cluster's network namespace.
func (n *Node) in(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + n.id}, args...)...)
	cmd.Env = append(os.Environ(),
		"KUBECONFIG="+filepath.Join(n.DataDir, "kubeconfig"),
		"HOME="+filepath.Dir(n.DataDir),
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
func (n *Node) Run(stdin string, args ...string) Result {
	n.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := n.in(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.tb.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	if ctx.Err() != nil {
		n.tb.Fatalf("%s: no end after five minutes\n%s%s", strings.Join(args, " "), &stdout, &stderr)
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func (n *Node) must(r Result, name string, args []string) string {
	n.tb.Helper()
	if r.Code != 0 {
		n.tb.Fatalf("%s %s: exit code %d\n%s%s", name, strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Background is a command that runs beside the test.
type Background struct {
	cmd    *exec.Cmd
	output *output
	done   chan struct{}
}

// Background starts a shell script in the cluster's network namespace. It is
// ended by Stop or with the test.
func (n *Node) Background(script string) *Background {
	n.tb.Helper()
	b := &Background{cmd: n.in(context.Background(), "sh", "-c", script), output: &output{}, done: make(chan struct{})}
	b.cmd.Stdout, b.cmd.Stderr = b.output, b.output
	// A group of its own, so that what the script starts ends with it.
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := b.cmd.Start(); err != nil {
		n.tb.Fatalf("start %s: %v", script, err)
	}
	go func() {
		defer close(b.done)
		_ = b.cmd.Wait() // it is ended by a signal
	}()
	n.tb.Cleanup(b.Stop)
	return b
}

// Stop ends it.
func (b *Background) Stop() {
	_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	<-b.done
}

// Has fails if what it printed so far has no such text.
func (b *Background) Has(text string) error {
	if got := b.output.String(); !strings.Contains(got, text) {
		return fmt.Errorf("no %q in:\n%s", text, got)
	}
	return nil
}

func (n *Node) serve(address string, handler http.HandlerFunc) (stop func()) {
	n.tb.Helper()
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: handler}
	listener := n.listen(address)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	stop = func() {
		_ = server.Close()
		<-served
	}
	n.tb.Cleanup(stop)
	return stop
}

// Eventually calls check until it succeeds, and fails the test if it has not
// after the limit.
func (n *Node) Eventually(limit time.Duration, what string, check func() error) {
	n.tb.Helper()
	deadline := time.Now().Add(limit)
	for pause := 50 * time.Millisecond; ; pause = min(pause*5/4, 400*time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			n.tb.Fatalf("after %s not: %s: %v\n--- headway's output:\n%s", limit, what, err, n.output.tail(60))
		}
		time.Sleep(pause) //nolint:forbidigo // polls an effect seen from outside
	}
}

// cpuacct is the cgroup that the program is started in, to count its CPU time.
func (n *Node) cpuacct() string {
	return filepath.Join("/sys/fs/cgroup/cpuacct", n.id+"-self")
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
