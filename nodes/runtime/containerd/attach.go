package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	taskapi "github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sys/unix"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/logs"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/capture"
)

// Attach implements Interface: it passes on the container's output, and input
// if it has stdin, until the container exits or ctx ends.
//
// A container with stdinOnce is meant for one client, who comes when it is
// already running, or has even ended: the first client also gets the earlier
// output. All others get the output from then on.
func (r *streams) Attach(ctx context.Context, id string, opts runtime.ExecOptions) error {
	ctx = r.cfg.namespaced(ctx)
	c, err := r.get(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.stdin && c.stdinOnce && c.attached.CompareAndSwap(false, true) {
		if err := r.attachInput(ctx, c, opts); err != nil && r.stateOf(c).State != runtime.Exited {
			c.attached.Store(false) // the next one is the first that gets anything
			return err
		}
		if err := c.noteAttached(); err != nil {
			r.log.Warn("cannot note that a container was attached to", "container", c.info.Name, "pod", c.info.Pod.UID, "err", err)
		}
		return r.attachWhole(ctx, c, opts)
	}
	if _, err := r.running(id); err != nil {
		return err
	}
	streams := c.streams.Load()
	if streams == nil {
		return fmt.Errorf("container %s: its output is not being copied", c.info.Name)
	}
	reader := streams.logs.Subscribe()
	if reader == nil {
		return nil // It has just ended.
	}
	defer streams.logs.Unsubscribe(reader)
	if err := r.attachInput(ctx, c, opts); err != nil {
		return err
	}
	return attachLive(ctx, reader, opts)
}

// attachInput begins to pass on the client's input and sizes of its terminal.
func (r *streams) attachInput(ctx context.Context, c *container, opts runtime.ExecOptions) error {
	if path := c.paths.stdin; opts.Stdin != nil && path != "" {
		stdin, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if errors.Is(err, unix.ENXIO) && r.stateOf(c).State != runtime.Created {
			// Nobody reads it any more: the shim has closed it, as the container
			// has ended, which is not recorded yet. What it printed is there.
			return nil
		}
		if err != nil {
			return fmt.Errorf("attach: open the container's input: %w", err)
		}
		// Not waited for: it ends with the caller's stream or the container's.
		go guard.Do(ctx, "pass on input to container "+c.info.Name, func() { r.copyStdin(ctx, c, stdin, opts.Stdin) })
	}
	go guard.Do(ctx, "resize the terminal of container "+c.info.Name, func() {
		followSizes(ctx, opts.Resize, func(ctx context.Context, w, h uint32) error {
			_, err := r.client.TaskService().ResizePty(ctx, &taskapi.ResizePtyRequest{ContainerID: c.info.ID, Width: w, Height: h})
			return err
		})
	})
	return nil
}

// attachWhole passes on all that the container prints, from its log: each byte
// once, from the first one that is kept. A client so slow that files of the log
// are removed before they are read gets an error, not a hole.
func (r *streams) attachWhole(ctx context.Context, c *container, opts runtime.ExecOptions) error {
	running := func() bool { return r.stateOf(c).State != runtime.Exited }
	err := logs.Read(ctx, c.info.LogPath, logs.Options{Whole: true, Follow: true, Running: running}, orDiscard(opts.Stdout), orDiscard(opts.Stderr))
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	return ctx.Err()
}

// attachLive passes on what is printed from now on.
func attachLive(ctx context.Context, reader *capture.Reader, opts runtime.ExecOptions) error {
	stdout, stderr := orDiscard(opts.Stdout), orDiscard(opts.Stderr)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case chunk, ok := <-reader.Chunks:
			if !ok {
				if reader.Behind {
					return errors.New("attach: the output came faster than it was read")
				}
				return nil
			}
			to := stdout
			if chunk.Stream == "stderr" {
				to = stderr
			}
			if _, err := to.Write(chunk.Data); err != nil {
				return fmt.Errorf("attach: %w", err)
			}
		}
	}
}

// copyStdin feeds the container. With stdinOnce the end of the first input is
// the end of all.
func (r *streams) copyStdin(ctx context.Context, c *container, stdin *os.File, in io.Reader) {
	defer stdin.Close() // also after a panic
	_, err := io.Copy(stdin, in)
	err = errors.Join(err, stdin.Close())
	if c.stdinOnce {
		_, cerr := r.client.TaskService().CloseIO(context.WithoutCancel(ctx), &taskapi.CloseIORequest{ContainerID: c.info.ID, Stdin: true})
		err = errors.Join(err, cerr)
	}
	if err != nil {
		r.log.Debug("container's input ended", "container", c.info.Name, "err", err)
	}
}
