package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/cio"
	"github.com/containerd/containerd/errdefs"
	"golang.org/x/sys/unix"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/runtime"
)

// outputGrace is how long output is waited for after the end of a process: its
// children may keep the streams open for ever.
const outputGrace = 5 * time.Second

// streams runs commands in containers, and attaches to what runs.
type streams struct {
	*state

	cfg    Config
	log    *slog.Logger
	client *containerd.Client
	boxes  *sandboxSet
	execs  atomic.Uint64 // numbers the commands
}

// Exec implements Interface. A command that exceeds opts.Timeout is killed, and
// the error wraps context.DeadlineExceeded.
func (r *streams) Exec(ctx context.Context, id string, opts runtime.ExecOptions) (int, error) {
	ctx = r.cfg.namespaced(ctx)
	c, err := r.running(id)
	if err != nil {
		return 0, err
	}
	if len(opts.Command) == 0 {
		return 0, errors.New("exec: no command")
	}
	stored, err := r.client.LoadContainer(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", c.info.Name, err)
	}
	task, err := stored.Task(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", c.info.Name, err)
	}
	spec, err := stored.Spec(ctx)
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", c.info.Name, err)
	}
	proc := *spec.Process
	proc.Args, proc.Terminal = opts.Command, opts.TTY
	if opts.TTY {
		proc.Env = append(proc.Env, "TERM=xterm")
	}
	stdin := &eofReader{r: opts.Stdin, eof: make(chan struct{})}
	stdout, stderr := guardedWriter{ctx, orDiscard(opts.Stdout)}, guardedWriter{ctx, orDiscard(opts.Stderr)}
	streams := []cio.Opt{
		cio.WithFIFODir(filepath.Join(r.boxes.runDir(c.info.Pod.UID), "io")),
		cio.WithStreams(stdin.orNil(), stdout, stderr),
	}
	if opts.TTY {
		streams = append(streams, cio.WithTerminal)
	}
	execID := "exec-" + strconv.FormatInt(time.Now().UnixNano(), 36) + "-" + strconv.FormatUint(r.execs.Add(1), 36)
	p, err := task.Exec(ctx, execID, &proc, cio.NewCreator(streams...))
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", c.info.Name, err)
	}
	return r.runExec(ctx, p, stdin, opts)
}

// runExec starts the process, passes on sizes and the end of input, and waits.
func (r *streams) runExec(ctx context.Context, p containerd.Process, stdin *eofReader, opts runtime.ExecOptions) (_ int, err error) {
	// What follows must also happen when the caller has gone.
	after := context.WithoutCancel(ctx)
	defer func() {
		if _, derr := p.Delete(after, containerd.WithProcessKill); derr != nil && !errdefs.IsNotFound(derr) && err == nil {
			err = fmt.Errorf("exec: delete process: %w", derr)
		}
	}()
	exited, err := p.Wait(after)
	if err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	if err := p.Start(ctx); err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		guard.Do(ctx, "close the input of a command", func() {
			select {
			case <-stdin.eof:
				// The process may have ended by itself.
				_ = p.CloseIO(after, containerd.WithStdinCloser)
			case <-ctx.Done():
			}
		})
	})
	wg.Go(func() { guard.Do(ctx, "resize a terminal", func() { followSizes(ctx, opts.Resize, p.Resize) }) })

	var timeout <-chan time.Time
	if opts.Timeout > 0 {
		t := time.NewTimer(opts.Timeout)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case status := <-exited:
		code, _, err := status.Result()
		if err != nil {
			return 0, fmt.Errorf("exec: %w", err)
		}
		waitOutput(p.IO())
		return int(code), nil
	case <-timeout:
		err = fmt.Errorf("command %q timed out: timeout %s exceeded: %w", opts.Command, opts.Timeout, context.DeadlineExceeded)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if kerr := p.Kill(after, unix.SIGKILL); kerr != nil && !errdefs.IsNotFound(kerr) {
		return 0, errors.Join(err, kerr)
	}
	<-exited
	return 0, err
}

// waitOutput waits for the copying of stdout and stderr to end, but not for ever.
func waitOutput(streams cio.IO) {
	if streams == nil {
		return
	}
	done := make(chan struct{})
	go guard.Do(context.Background(), "copy the output of a command", func() {
		defer close(done)
		streams.Wait()
	})
	select {
	case <-done:
	case <-time.After(outputGrace):
		streams.Cancel()
		// It closes what Wait waits for.
		_ = streams.Close()
		<-done
	}
}

// followSizes passes terminal sizes on until ctx ends.
func followSizes(ctx context.Context, sizes <-chan runtime.TerminalSize, resize func(ctx context.Context, w, h uint32) error) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			// The process may have ended; its size matters to nobody then.
			_ = resize(ctx, uint32(size.Width), uint32(size.Height))
		case <-ctx.Done():
			return
		}
	}
}

// eofReader reports when its source has ended.
type eofReader struct {
	r    io.Reader
	once sync.Once
	eof  chan struct{}
}

func (e *eofReader) Read(p []byte) (n int, err error) {
	// The goroutine is the library's.
	err = guard.Call(context.Background(), "read the input of a command", func() (err error) {
		n, err = e.r.Read(p)
		return err
	})
	if err != nil {
		e.once.Do(func() { close(e.eof) })
	}
	return n, err
}

// orNil keeps a missing input a nil interface.
func (e *eofReader) orNil() io.Reader {
	if e.r == nil {
		return nil
	}
	return e
}

// guardedWriter makes a panic of a client's stream an error of that stream: the
// goroutines that write to it are the library's.
type guardedWriter struct {
	ctx context.Context //nolint:containedctx // of the one call that it belongs to
	w   io.Writer
}

func (g guardedWriter) Write(p []byte) (n int, err error) {
	err = guard.Call(g.ctx, "pass on what a command prints", func() (err error) {
		n, err = g.w.Write(p)
		return err
	})
	return n, err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
