package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/cio"
	"github.com/containerd/containerd/errdefs"
	"golang.org/x/sys/unix"

	"headway.dev/manifests/guard"
)

// outputGrace is how long output is waited for after the end of a process: its
// children may keep the streams open for ever.
const outputGrace = 5 * time.Second

// Exec implements Interface. A command that exceeds opts.Timeout is killed, and
// the error wraps context.DeadlineExceeded.
func (r *Runtime) Exec(ctx context.Context, id string, opts ExecOptions) (int, error) {
	ctx = r.namespaced(ctx)
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
	streams := []cio.Opt{
		cio.WithFIFODir(filepath.Join(r.runDir(c.info.Pod.UID), "io")),
		cio.WithStreams(stdin.orNil(), orDiscard(opts.Stdout), orDiscard(opts.Stderr)),
	}
	if opts.TTY {
		streams = append(streams, cio.WithTerminal)
	}
	execID := "exec-" + strconv.FormatInt(time.Now().UnixNano(), 36) + "-" + strconv.FormatUint(r.views.Add(1), 36)
	p, err := task.Exec(ctx, execID, &proc, cio.NewCreator(streams...))
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", c.info.Name, err)
	}
	return r.runExec(ctx, p, stdin, opts)
}

// runExec starts the process, passes on sizes and the end of input, and waits.
func (r *Runtime) runExec(ctx context.Context, p containerd.Process, stdin *eofReader, opts ExecOptions) (_ int, err error) {
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
		select {
		case <-stdin.eof:
			// The process may have ended by itself.
			_ = p.CloseIO(after, containerd.WithStdinCloser)
		case <-ctx.Done():
		}
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
	go func() { streams.Wait(); close(done) }()
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
func followSizes(ctx context.Context, sizes <-chan TerminalSize, resize func(ctx context.Context, w, h uint32) error) {
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

func (r *Runtime) running(id string) (*container, error) {
	c, err := r.get(id)
	if err != nil {
		return nil, err
	}
	if r.stateOf(c).State != Running {
		return nil, fmt.Errorf("container not running (%s)", id)
	}
	return c, nil
}

// Attach implements Interface: it passes on what the container prints from now
// on, and input if it has stdin, until the container exits or ctx ends.
func (r *Runtime) Attach(ctx context.Context, id string, opts ExecOptions) error {
	ctx = r.namespaced(ctx)
	c, err := r.running(id)
	if err != nil {
		return err
	}
	streams := c.streams.Load()
	if streams == nil {
		return fmt.Errorf("container %s: its output is not being copied", c.info.Name)
	}
	reader := streams.logs.subscribe()
	if reader == nil {
		return nil // It has just ended.
	}
	defer streams.logs.unsubscribe(reader)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if opts.Stdin != nil && streams.paths.stdin != "" {
		stdin, err := os.OpenFile(streams.paths.stdin, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("attach: open the container's input: %w", err)
		}
		// Not waited for: it ends with the caller's stream or the container's.
		go r.copyStdin(ctx, c, stdin, opts.Stdin)
	}
	go followSizes(ctx, opts.Resize, func(ctx context.Context, w, h uint32) error {
		_, err := r.client.TaskService().ResizePty(ctx, &tasks.ResizePtyRequest{ContainerID: id, Width: w, Height: h})
		return err
	})
	stdout, stderr := orDiscard(opts.Stdout), orDiscard(opts.Stderr)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case chunk, ok := <-reader.chunks:
			if !ok {
				if reader.behind {
					return errors.New("attach: the output came faster than it was read")
				}
				return nil
			}
			to := stdout
			if chunk.stream == "stderr" {
				to = stderr
			}
			if _, err := to.Write(chunk.data); err != nil {
				return fmt.Errorf("attach: %w", err)
			}
		}
	}
}

// copyStdin feeds the container. With stdinOnce the end of the first input is
// the end of all.
func (r *Runtime) copyStdin(ctx context.Context, c *container, stdin *os.File, in io.Reader) {
	_, err := io.Copy(stdin, in)
	err = errors.Join(err, stdin.Close())
	if c.stdinOnce {
		_, cerr := r.client.TaskService().CloseIO(context.WithoutCancel(ctx), &tasks.CloseIORequest{ContainerID: c.info.ID, Stdin: true})
		err = errors.Join(err, cerr)
	}
	if err != nil {
		r.log.Debug("container's input ended", "container", c.info.Name, "err", err)
	}
}

// eofReader tells when its source has ended.
type eofReader struct {
	r    io.Reader
	once sync.Once
	eof  chan struct{}
}

func (e *eofReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
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

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
