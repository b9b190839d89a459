package kustomize

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"headway.dev/manifests/guard"
)

const (
	// maxOutput bounds all that a build sends, in bytes.
	maxOutput = 128 << 20
	// atOnce bounds the builds that begin at the same time. One that takes longer
	// than overtime gives its place to the next: it must not hold up others.
	atOnce   = 4
	overtime = time.Second
)

// Budget is what one build may use.
type Budget struct {
	CPU    time.Duration // in whole seconds
	Memory uint64        // bytes
}

var (
	budgetMu sync.Mutex
	budget   = Budget{CPU: time.Minute, Memory: 1 << 30}
)

func currentBudget() Budget {
	budgetMu.Lock()
	defer budgetMu.Unlock()
	return budget
}

// Limit sets the budget of builds that begin later, and returns the previous
// one.
func Limit(b Budget) Budget {
	budgetMu.Lock()
	before := budget
	budget = b
	budgetMu.Unlock()
	select {
	case p := <-spare: // it has the old one
		_ = p.end()
		_ = p.stderr.Close()
	default:
	}
	return before
}

// process is a child that waits for what to build.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	stderr *os.File
	budget Budget
}

// said is the beginning of what a child that has ended wrote to stderr. It may
// hold contents of files, and must not be shown.
func (p *process) said() string {
	text, _ := io.ReadAll(io.LimitReader(p.stderr, 4096)) // what there is will do
	return string(text)
}

func start() (*process, error) {
	b := currentBudget()
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{childName, strconv.Itoa(int(b.CPU / time.Second)), strconv.FormatUint(b.Memory, 10)}, Dir: "/",
		Env:         []string{"GOMAXPROCS=2", fmt.Sprintf("GOMEMLIMIT=%d", b.Memory/4*3), "GOTRACEBACK=none"},
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true}, // Ctrl-C is for the parent
	}
	p := &process{cmd: cmd, budget: b}
	var (
		stderr *os.File
		err    error
	)
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.out, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if p.stderr, stderr, err = os.Pipe(); err != nil {
		return nil, err
	}
	defer stderr.Close()
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		_ = p.stderr.Close() // nothing was written
		return nil, fmt.Errorf("start the process of a build: %w", err)
	}
	return p, nil
}

// spare is one child that was started in advance, for a start takes longer than
// most builds. It ends with this process, whose pipe it reads.
var spare = make(chan *process, 1)

func take() (*process, error) {
	select {
	case p := <-spare:
		return p, nil
	default:
		return start()
	}
}

// replace starts the next spare child.
func replace() {
	p, err := start()
	if err != nil {
		return // the next build says so
	}
	select {
	case spare <- p:
	default:
		_ = p.end() // another was faster
		_ = p.stderr.Close()
	}
}

// end kills the child and waits for it.
func (p *process) end() error {
	_ = p.cmd.Process.Kill() // it may have ended
	return p.cmd.Wait()
}

var places = make(chan struct{}, atOnce)

func inChild(ctx context.Context, files FS, dir string, keepOrigin func() bool) ([]Resource, error) {
	select {
	case places <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	leave := sync.OnceFunc(func() { <-places })
	defer leave()
	late := time.AfterFunc(overtime, leave)
	defer late.Stop()
	p, err := take()
	if err != nil {
		return nil, err
	}
	defer p.stderr.Close()
	defer func() { go guard.Do(context.WithoutCancel(ctx), "prepare the next build", replace) }()
	stop := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	defer stop()
	list, err := p.build(files, dir, keepOrigin)
	died := p.end()
	if err == nil || !errors.Is(err, errDied) {
		return list, err
	}
	return nil, p.reason(ctx, died)
}

// reason says why a child ended before it had an answer.
func (p *process) reason(ctx context.Context, died error) error {
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	used := p.cmd.ProcessState.SystemTime() + p.cmd.ProcessState.UserTime()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	said := p.said()
	says := func(what string) bool { return strings.Contains(said, what) }
	switch {
	// Go's runtime, its threads, its stacks, and the race detector's memory.
	case says("out of memory") || says("cannot allocate memory") || says("stack exceeds") || says("failed to allocate"):
		return fmt.Errorf("%w: more than %d MiB of memory", ErrBudget, p.budget.Memory>>20)
	case status.Signaled() && used >= p.budget.CPU-time.Second/2:
		return fmt.Errorf("%w: more than %s of CPU time", ErrBudget, p.budget.CPU)
	case status.Signaled():
		return fmt.Errorf("%w: its process was killed, perhaps for want of memory", ErrBudget)
	}
	return fmt.Errorf("the process of the build ended: %w", died)
}

// errDied says that the child ended before it had an answer.
var errDied = errors.New("the process of the build ended")

// limited is a reader with a bound that is an error.
type limited struct {
	r    io.Reader
	left int64
}

var errOutput = fmt.Errorf("%w: more than %d MiB come out of it", ErrBudget, maxOutput>>20)

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errOutput
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// build has the child build, and answers its questions.
func (p *process) build(files FS, dir string, keepOrigin func() bool) ([]Resource, error) {
	send, receive := gob.NewEncoder(p.in), gob.NewDecoder(&limited{r: p.out, left: maxOutput})
	next := answer{Dir: dir}
	for {
		if err := send.Encode(next); err != nil {
			return nil, errDied
		}
		var q question
		if err := receive.Decode(&q); err != nil {
			if errors.Is(err, ErrBudget) {
				return nil, err
			}
			return nil, errDied
		}
		next = answer{}
		var err error
		switch q.Ask {
		case tellDone:
			if q.Err != "" {
				return nil, errors.New(q.Err)
			}
			return q.Resources, nil
		case askClean:
			confirmed, name, cleanErr := files.CleanedAbs(q.Path)
			next.Dir, next.Name, err = string(confirmed), name, cleanErr
		case askRead:
			next.Data, err = files.ReadFile(q.Path)
		case askIsDir:
			next.Yes = files.IsDir(q.Path)
		case askExists:
			next.Yes = files.Exists(q.Path)
		case askKeep:
			next.Yes = keepOrigin()
		}
		if err != nil {
			next.Err = err.Error()
		}
	}
}
