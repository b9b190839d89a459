package containerd_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
)

// buffer may be written and read at the same time.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func waitFor(t *testing.T, b *buffer, want string) {
	t.Helper()
	nodetest.Eventually(t, 20*time.Second, func() string {
		if got := b.String(); !strings.Contains(got, want) {
			return "output is " + got + ", want in it " + want
		}
		return ""
	})
}

func TestExec(t *testing.T) {
	n := nodetest.Start(t)
	c := n.Run(t, nodetest.Sandbox("exec"), "main", "sleep")
	var stdout, stderr buffer
	code, err := n.Exec(t.Context(), c.ID, runtime.ExecOptions{Command: []string{"/tool", "both"}, Stdout: &stdout, Stderr: &stderr})
	if err != nil || code != 0 || stdout.String() != "to stdout\nno newline" || stderr.String() != "to stderr\n" {
		t.Errorf("exec = %d, %v, %q, %q", code, err, stdout.String(), stderr.String())
	}
	if code, err = n.Exec(t.Context(), c.ID, runtime.ExecOptions{Command: []string{"/tool", "exit", "42"}}); err != nil || code != 42 {
		t.Errorf("exec = %d, %v; want 42", code, err)
	}
	// Input ends: cat ends.
	input := strings.Repeat("some input\n", 20000)
	var echoed buffer
	code, err = n.Exec(t.Context(), c.ID, runtime.ExecOptions{Command: []string{"/tool", "cat"}, Stdin: strings.NewReader(input), Stdout: &echoed})
	if err != nil || code != 0 || echoed.String() != input {
		t.Errorf("cat = %d, %v, %d bytes; want 0 and %d bytes", code, err, len(echoed.String()), len(input))
	}
	_, err = n.Exec(t.Context(), c.ID, runtime.ExecOptions{Command: []string{"/tool", "sleep"}, Timeout: 200 * time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("exec beyond its timeout = %v, want DeadlineExceeded", err)
	}
	if _, err = n.Exec(t.Context(), c.ID, runtime.ExecOptions{Command: []string{"/nope"}}); err == nil || !strings.Contains(err.Error(), "/nope") {
		t.Errorf("exec of nothing = %v, want what is missing", err)
	}
	if err := n.StopContainer(t.Context(), c.ID, 0); err != nil {
		t.Fatal(err)
	}
	if _, err = n.Exec(t.Context(), c.ID, runtime.ExecOptions{Command: []string{"/tool"}}); err == nil || !strings.Contains(err.Error(), "container not running") {
		t.Errorf("exec in a stopped container = %v", err)
	}
	if _, err = n.Exec(t.Context(), "nothing", runtime.ExecOptions{Command: []string{"/tool"}}); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("exec in no container = %v, want ErrNotFound", err)
	}
}

func TestExecManyAtOnce(t *testing.T) {
	n := nodetest.Start(t)
	c := n.Run(t, nodetest.Sandbox("probes"), "main", "sleep")
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			var out buffer
			code, err := n.Exec(t.Context(), c.ID, runtime.ExecOptions{Command: []string{"/tool", "exit", "5"}, Stdout: &out})
			if err != nil || code != 5 || out.String() != "exiting\n" {
				t.Errorf("exec %d = %d, %v, %q", i, code, err, out.String())
			}
		})
	}
	wg.Wait()
}

func TestExecTerminal(t *testing.T) {
	n := nodetest.Start(t)
	c := n.Run(t, nodetest.Sandbox("terminal"), "main", "sleep")
	var out buffer
	resize := make(chan runtime.TerminalSize, 1)
	in, keepOpen := io.Pipe()
	defer func() { _ = keepOpen.Close() }()
	done := make(chan error, 1)
	go func() {
		code, err := n.Exec(t.Context(), c.ID, runtime.ExecOptions{Command: []string{"/tool", "size", "1"}, TTY: true, Stdin: in, Stdout: &out, Resize: resize})
		if code != 0 {
			err = errors.Join(err, errors.New("exit code is not 0"))
		}
		done <- err
	}()
	waitFor(t, &out, "size 0x0")
	resize <- runtime.TerminalSize{Width: 123, Height: 45}
	waitFor(t, &out, "size 123x45\r\n")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShellOnATerminal(t *testing.T) {
	n := nodetest.Start(t)
	importImage(t, n, "shell:1", nodetest.ImageOptions{Busybox: true})
	c := n.RunConfig(t, nodetest.Sandbox("shell"), runtime.ContainerConfig{Name: "main", Image: "shell:1", Args: []string{"sleep"}})
	var out buffer
	in, typed := io.Pipe()
	done := make(chan int, 1)
	go func() {
		code, err := n.Exec(t.Context(), c.ID, runtime.ExecOptions{Command: []string{"sh"}, TTY: true, Stdin: in, Stdout: &out})
		if err != nil {
			t.Error(err)
		}
		done <- code
	}()
	for _, line := range []string{"echo $((6*7)) $TERM\n", "exit 9\n"} {
		if _, err := io.WriteString(typed, line); err != nil {
			t.Fatal(err)
		}
	}
	if code := <-done; code != 9 {
		t.Errorf("exit code = %d, want 9", code)
	}
	_ = typed.Close()
	waitFor(t, &out, "42 xterm\r\n")
}

func TestAttach(t *testing.T) {
	n := nodetest.Start(t)
	c := n.RunConfig(t, nodetest.Sandbox("attach"), runtime.ContainerConfig{Name: "main", Args: []string{"cat"}, Stdin: true, StdinOnce: true})
	var out buffer
	in, typed := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- n.Attach(t.Context(), c.ID, runtime.ExecOptions{Stdin: in, Stdout: &out}) }()
	if _, err := io.WriteString(typed, "hello\n"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, &out, "hello\n")
	_ = typed.Close()
	if err := <-done; err != nil {
		t.Errorf("Attach = %v, want nil at the container's end", err)
	}
	if got := n.WaitExited(t, c); got.ExitCode != 0 || readLog(t, got.LogPath)["stdout"] != "hello\n" {
		t.Errorf("container = %+v, log %q", got, readLog(t, got.LogPath))
	}
}

func TestDialPod(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("dial")
	c := n.Run(t, pod, "main", "serve", "127.0.0.1:9999")
	waitLog(t, c.LogPath, "serving")
	var conn io.ReadWriteCloser
	nodetest.Eventually(t, 10*time.Second, func() string {
		var err error
		if conn, err = n.DialPod(t.Context(), pod.UID, 9999); err != nil {
			return err.Error()
		}
		return ""
	})
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(answer), "\r\n\r\nok\n") {
		t.Errorf("answer through the pod's loopback = %q, %v", answer, err)
	}
	if _, err := n.DialPod(t.Context(), pod.UID, 9998); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("DialPod of a closed port = %v", err)
	}
}
