package runtime_test

import (
	"fmt"
	"strings"
	"testing"

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
