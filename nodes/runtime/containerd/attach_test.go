package containerd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
)

// TestAttachFromTheStart: the one client of a container with stdinOnce gets each
// byte once, also if the container has ended when it comes, and however fast the
// output is; who comes later gets nothing of before.
func TestAttachFromTheStart(t *testing.T) {
	n := nodetest.Start(t)
	const lines = 300_000 // more than fits anywhere in memory, or into one file of the log
	c := n.RunConfig(t, nodetest.Sandbox("whole"), runtime.ContainerConfig{Name: "main", Args: []string{"lines", fmt.Sprint(lines)}, Stdin: true, StdinOnce: true})
	var all buffer
	if err := n.Attach(t.Context(), c.ID, runtime.ExecOptions{Stdin: strings.NewReader(""), Stdout: &all}); err != nil {
		t.Errorf("Attach = %v", err)
	}
	ended := n.WaitExited(t, c)
	if got, want := all.String(), readLog(t, ended.LogPath)["stdout"]; !strings.HasSuffix(got, want) || strings.Count(got, "\n") != lines {
		t.Errorf("attached: %d lines, %d bytes; the log's last file has %d bytes", strings.Count(got, "\n"), len(got), len(want))
	}

	late := n.RunConfig(t, nodetest.Sandbox("late"), runtime.ContainerConfig{Name: "main", Args: []string{"both"}, Stdin: true, StdinOnce: true})
	n.WaitExited(t, late)
	var stdout, stderr buffer
	if err := n.Attach(t.Context(), late.ID, runtime.ExecOptions{Stdin: strings.NewReader("x"), Stdout: &stdout, Stderr: &stderr}); err != nil {
		t.Errorf("Attach to what has ended = %v", err)
	}
	if stdout.String() != "to stdout\nno newline" || stderr.String() != "to stderr\n" {
		t.Errorf("attached to what has ended: %q and %q", stdout.String(), stderr.String())
	}
	if err := n.Attach(t.Context(), late.ID, runtime.ExecOptions{Stdout: &stdout}); err == nil || !strings.Contains(err.Error(), "container not running") {
		t.Errorf("the second Attach to what has ended = %v", err)
	}

	many := n.RunConfig(t, nodetest.Sandbox("many"), runtime.ContainerConfig{Name: "main", Args: []string{"both"}, Stdin: true})
	n.WaitExited(t, many)
	if err := n.Attach(t.Context(), many.ID, runtime.ExecOptions{Stdout: &stdout}); err == nil || !strings.Contains(err.Error(), "container not running") {
		t.Errorf("Attach to a container for many that has ended = %v", err)
	}
}

// TestAttachToRotatedLogs: the client that comes after the log has been rotated
// gets what is in its older files too.
func TestAttachToRotatedLogs(t *testing.T) {
	n := nodetest.Start(t)
	n.Stop(t)
	n.Config.LogMaxSize, n.Config.LogMaxFiles = 100<<10, 1000
	n.Restart(t)
	const count = 20000
	c := n.RunConfig(t, nodetest.Sandbox("older"), runtime.ContainerConfig{Name: "main", Args: []string{"lines", fmt.Sprint(count)}, Stdin: true, StdinOnce: true})
	ended := n.WaitExited(t, c)
	if rotated, _ := filepath.Glob(ended.LogPath + ".*"); len(rotated) < 2 {
		t.Fatalf("%d rotated files, want several", len(rotated))
	}
	var all buffer
	if err := n.Attach(t.Context(), c.ID, runtime.ExecOptions{Stdout: &all}); err != nil {
		t.Errorf("Attach = %v", err)
	}
	if want := wantLines(count); all.String() != want {
		t.Errorf("attached output differs from what was printed: %s", firstDifference(all.String(), want))
	}
}

// held takes nothing until it is let go.
type held struct {
	buffer
	reached chan struct{} // gets a value at each write
	let     chan struct{}
}

func (h *held) Write(p []byte) (int, error) {
	select {
	case h.reached <- struct{}{}:
	default:
	}
	<-h.let
	return h.buffer.Write(p)
}

// TestAttachTooSlowly: when files of the log go before the client has read
// them, it is told so.
func TestAttachTooSlowly(t *testing.T) {
	n := nodetest.Start(t)
	n.Stop(t)
	n.Config.LogMaxSize, n.Config.LogMaxFiles = 100<<10, 3
	n.Restart(t)
	c := n.RunConfig(t, nodetest.Sandbox("slow"), runtime.ContainerConfig{Name: "main", Args: []string{"lines", "30000", "2000"}, Stdin: true, StdinOnce: true})
	out := &held{reached: make(chan struct{}, 1), let: make(chan struct{})}
	attached := make(chan error, 1)
	go func() { attached <- n.Attach(t.Context(), c.ID, runtime.ExecOptions{Stdout: out}) }()
	<-out.reached
	n.WaitExited(t, c)
	close(out.let)
	if err := <-attached; err == nil || !strings.Contains(err.Error(), "the output came faster than it was read") {
		t.Errorf("Attach = %v, with %d bytes written; want an error", err, len(out.String()))
	}
}

// attachFor attaches until what is wanted was printed, and returns all that was.
func attachFor(t *testing.T, n *nodetest.Node, c runtime.Container, in io.Reader, want string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var out buffer
	ended := make(chan error, 1)
	go func() { ended <- n.Attach(ctx, c.ID, runtime.ExecOptions{Stdin: in, Stdout: &out}) }()
	waitFor(t, &out, want)
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Attach = %v", err)
	}
	return out.String()
}

// inputOf is the FIFO of a container's input.
func inputOf(n *nodetest.Node, c runtime.Container) string {
	return filepath.Join(n.Config.RunDir, "sandboxes", c.Pod.UID, "io", c.Name+"-0.in")
}

// TestAttachAgainAfterFailure: an attach that fails does not use up the only
// one from the first byte, and an input that nobody reads any more, as when the
// program has just ended, does not fail one.
func TestAttachAgainAfterFailure(t *testing.T) {
	n := nodetest.Start(t)
	args := []string{"lines", "200", "600000000"} // a hundred, and then nothing for long
	c := n.RunConfig(t, nodetest.Sandbox("again"), runtime.ContainerConfig{Name: "main", Args: args, Stdin: true, StdinOnce: true})
	input := inputOf(n, c)
	if err := os.Rename(input, input+".away"); err != nil {
		t.Fatal(err)
	}
	if err := n.Attach(t.Context(), c.ID, runtime.ExecOptions{Stdin: strings.NewReader("")}); err == nil {
		t.Error("Attach without the container's input = nil")
	}
	if err := os.Rename(input+".away", input); err != nil {
		t.Fatal(err)
	}
	if got := attachFor(t, n, c, strings.NewReader(""), "line 99 "); !strings.HasPrefix(got, "line 0 \nline 1 x\n") {
		t.Errorf("the next Attach got %q; want all lines", got)
	}

	c = n.RunConfig(t, nodetest.Sandbox("ending"), runtime.ContainerConfig{Name: "main", Args: args, Stdin: true, StdinOnce: true})
	input = inputOf(n, c)
	if err := errors.Join(os.Remove(input), unix.Mkfifo(input, 0o600)); err != nil { // without a reader
		t.Fatal(err)
	}
	if got := attachFor(t, n, c, strings.NewReader(""), "line 99 "); !strings.HasPrefix(got, "line 0 \nline 1 x\n") {
		t.Errorf("Attach while nobody reads the input got %q; want all lines", got)
	}
}

// TestAttachAfterRestart: who attaches again after a restart of the agent gets
// what comes from then on, as without one.
func TestAttachAfterRestart(t *testing.T) {
	n := nodetest.Start(t)
	c := n.RunConfig(t, nodetest.Sandbox("days"), runtime.ContainerConfig{Name: "main", Args: []string{"cat"}, Stdin: true, StdinOnce: true})
	if err := os.WriteFile(inputOf(n, c), []byte("long ago\n"), 0); err != nil {
		t.Fatal(err)
	}
	if got := attachFor(t, n, c, nil, "long ago\n"); got != "long ago\n" {
		t.Errorf("the first Attach got %q", got)
	}
	n.Restart(t)
	var out buffer
	if err := n.Attach(t.Context(), c.ID, runtime.ExecOptions{Stdin: strings.NewReader("now\n"), Stdout: &out}); err != nil || out.String() != "now\n" {
		t.Errorf("Attach after a restart = %v, with %q; want what came since", err, out.String())
	}
	n.WaitExited(t, c)
	if err := n.RemoveContainer(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(inputOf(n, c)), "main-0.*")); err != nil || len(left) > 0 {
		t.Errorf("left after the container's removal: %q, %v", left, err)
	}
}
