package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Program is the `headway up` under test.
type Program struct {
	node  *Node
	flags []string
	// binary is another one than that of Build, if it is not empty.
	binary string
	// command replaces `headway up` and its flags, if it is not empty.
	command []string
	cmd     *exec.Cmd
	exited  chan struct{}
	// started is how much had been printed when it was last started.
	started int
}

// AddFlags adds flags to those of `headway up`, before its start.
func (p *Program) AddFlags(flags ...string) { p.flags = append(p.flags, flags...) }

// Use makes the next starts those of another binary.
func (p *Program) Use(binary string) { p.binary = binary }

// upArgs is the command line of the cluster.
func (p *Program) upArgs() []string {
	if len(p.command) > 0 {
		return append(p.command, p.flags...)
	}
	return append([]string{
		"up", "--data-dir", p.node.DataDir, "--images-dir", images, "--node-name", "node-1",
		"--cgroup-root", p.node.id, "--listen", "127.0.0.1:6443", "--settle", "1s",
	}, p.flags...)
}

// Spawn starts the program and does not wait.
func (p *Program) Spawn() {
	p.node.tb.Helper()
	if err := os.MkdirAll(p.node.cpuacct(), 0o755); err != nil {
		p.node.tb.Fatal(err)
	}
	enter := "echo $$ > " + filepath.Join(p.node.cpuacct(), "cgroup.procs") + ` && exec "$@"`
	p.cmd = p.node.in(context.Background(), append([]string{"sh", "-c", enter, "up", cmp.Or(p.binary, headway)}, p.upArgs()...)...)
	p.cmd.Stdout, p.cmd.Stderr = p.node.output, p.node.output
	p.started = len(p.node.output.String())
	if err := p.cmd.Start(); err != nil {
		p.node.tb.Fatalf("start headway up: %v", err)
	}
	exited := make(chan struct{})
	p.exited = exited
	go func(cmd *exec.Cmd) {
		defer close(exited)
		// How it ended is in cmd.ProcessState.
		_ = cmd.Wait()
	}(p.cmd)
}

// Kill ends the program with SIGKILL.
func (p *Program) Kill() {
	p.node.tb.Helper()
	p.signal(syscall.SIGKILL)
}

// Stop ends the program as Ctrl-C does.
func (p *Program) Stop() {
	p.node.tb.Helper()
	p.signal(syscall.SIGINT)
}

// Suspend stops the program where it is, as a laptop's lid does. Resume lets it
// go on.
func (p *Program) Suspend() {
	p.node.tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.node.tb.Fatal(err)
	}
}

// Resume lets a suspended program go on.
func (p *Program) Resume() {
	p.node.tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		p.node.tb.Fatal(err)
	}
}

func (p *Program) signal(signal syscall.Signal) {
	p.node.tb.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.node.tb.Fatalf("send %s to headway: %v", signal, err)
	}
	select {
	case <-p.exited:
	case <-time.After(time.Minute):
		p.node.tb.Fatalf("headway did not end within a minute of %s\n%s", signal, p.node.output)
	}
}

// Running fails if the program has ended.
func (p *Program) Running() error {
	select {
	case <-p.exited:
		return fmt.Errorf("headway up ended: %v", p.cmd.ProcessState)
	default:
		return nil
	}
}

// Output is what headway up printed so far.
func (p *Program) Output() string { return p.node.output.String() }

// OutputSinceStart is what it printed since it was last started.
func (p *Program) OutputSinceStart() string { return p.node.output.String()[p.started:] }

// Descriptors is how many files and sockets the program has open.
func (p *Program) Descriptors() int {
	p.node.tb.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.node.tb.Fatal(err)
	}
	return len(entries)
}

// Memory is the program's resident memory that is no file's: now, and at most
// since ForgetPeak or the start.
type Memory struct{ Anonymous, Peak int64 }

// Memory reads proc(5)'s status. The peak includes the program's own pages, of
// which there are less than 200 MB.
func (p *Program) Memory() Memory {
	p.node.tb.Helper()
	content, err := os.ReadFile(p.proc("status"))
	if err != nil {
		p.node.tb.Fatal(err)
	}
	var m Memory
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "RssAnon:":
			m.Anonymous = kib << 10
		case "VmHWM:":
			m.Peak = kib << 10
		}
	}
	if m.Anonymous == 0 || m.Peak == 0 {
		p.node.tb.Fatalf("no memory in\n%s", content)
	}
	return m
}

// ForgetPeak begins to measure the peak anew.
func (p *Program) ForgetPeak() {
	p.node.tb.Helper()
	if err := os.WriteFile(p.proc("clear_refs"), []byte("5"), 0); err != nil {
		p.node.tb.Fatal(err)
	}
}

func (p *Program) proc(file string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), file)
}
