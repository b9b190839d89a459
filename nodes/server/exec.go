package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

// idle is how long a stream without traffic stays open, as the kubelet has it.
const idle = 4 * time.Hour

// container finds the container of a request, which has to be as wanted, or
// answers why not.
func (s *Server) container(w http.ResponseWriter, r *http.Request, want func(*corev1.Pod, runtime.Container) bool) (runtime.Container, *corev1.Pod, bool) {
	var none runtime.Container
	p, ok := s.lookup(w, r)
	if !ok {
		return none, nil, false
	}
	observed, err := s.runtime.Get(r.Context(), string(p.UID))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return none, nil, false
	}
	name := r.PathValue("container")
	c, ok := newest(observed, name, false)
	if !ok || !want(p, c) {
		http.Error(w, fmt.Sprintf("container not found (%q)", name), http.StatusNotFound)
		return none, nil, false
	}
	return c, p, true
}

func running(_ *corev1.Pod, c runtime.Container) bool { return c.State == runtime.Running }

// attachable reports whether there is something to attach to: who comes too
// late for a program that was started for one client still gets its output.
func attachable(p *corev1.Pod, c runtime.Container) bool {
	return c.State == runtime.Running || c.State == runtime.Exited && stdinOnce(p, c.Name)
}

func stdinOnce(p *corev1.Pod, name string) bool {
	c := pod.Container(p, name)
	return c != nil && c.Stdin && c.StdinOnce
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	command := r.URL.Query()["command"]
	if len(command) == 0 {
		http.Error(w, "you must specify at least one command", http.StatusBadRequest)
		return
	}
	c, p, ok := s.container(w, r, running)
	if !ok {
		return
	}
	remotecommand.ServeExec(w, r, streams{s.runtime}, p.Name, string(p.UID), c.ID, command, opts,
		idle, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c, p, ok := s.container(w, r, attachable)
	if !ok {
		return
	}
	remotecommand.ServeAttach(w, r, streams{s.runtime}, p.Name, string(p.UID), c.ID, opts,
		idle, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	opts, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p, ok := s.lookup(w, r)
	if !ok {
		return
	}
	portforward.ServePortForward(w, r, streams{s.runtime}, p.Name, string(p.UID), opts,
		idle, remotecommand.DefaultStreamCreationTimeout, portforward.SupportedProtocols)
}

// streams connects the streaming library with the runtime. The library's
// container name is our container ID.
type streams struct{ runtime runtime.Interface }

func (s streams) ExecInContainer(ctx context.Context, _, _, id string, command []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, timeout time.Duration) error {
	code, err := s.runtime.Exec(ctx, id, options(ctx, command, in, out, errOut, tty, resize, timeout))
	if err != nil {
		return err
	}
	if code != 0 {
		return exitError(code)
	}
	return nil
}

func (s streams) AttachContainer(ctx context.Context, _, _, id string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return s.runtime.Attach(ctx, id, options(ctx, nil, in, out, errOut, tty, resize, 0))
}

// options turns the library's streams into the runtime's. An absent stream has
// to stay a nil interface.
func options(ctx context.Context, command []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, timeout time.Duration) runtime.ExecOptions {
	opts := runtime.ExecOptions{Command: command, TTY: tty, Stdin: in, Timeout: timeout}
	if out != nil {
		opts.Stdout = out
	}
	if errOut != nil {
		opts.Stderr = errOut
	}
	if resize != nil {
		sizes := make(chan runtime.TerminalSize)
		opts.Resize = sizes
		// It ends with the request: resize closes, or ctx does.
		go guard.Do(ctx, "pass on a terminal's size", func() { passSizes(ctx, resize, sizes) })
	}
	return opts
}

func passSizes(ctx context.Context, from <-chan remotecommand.TerminalSize, to chan<- runtime.TerminalSize) {
	defer close(to)
	for {
		select {
		case size, ok := <-from:
			if !ok {
				return
			}
			select {
			case to <- runtime.TerminalSize{Width: size.Width, Height: size.Height}:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// exitError is a command's exit code in the form the library looks for.
type exitError int

func (e exitError) Error() string   { return fmt.Sprintf("command terminated with exit code %d", int(e)) }
func (e exitError) String() string  { return e.Error() }
func (e exitError) Exited() bool    { return true }
func (e exitError) ExitStatus() int { return int(e) }

func (s streams) PortForward(ctx context.Context, _, uid string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	conn, err := s.runtime.DialPod(ctx, uid, port)
	if err != nil {
		return fmt.Errorf("connect to port %d inside the pod: %w", port, err)
	}
	defer conn.Close()
	inbound := make(chan struct{})
	// It ends when the stream is closed below, or by the client.
	go guard.Do(ctx, "pass on what is sent to a pod's port", func() {
		defer close(inbound)
		whole := false
		defer func() {
			if half, ok := conn.(interface{ CloseWrite() error }); ok && whole {
				_ = half.CloseWrite() // the pod may still answer
			} else {
				_ = conn.Close()
			}
		}()
		_, err := io.Copy(conn, stream)
		whole = err == nil
	})
	_, err = io.Copy(stream, conn)
	_ = stream.Close()
	_ = conn.Close()
	<-inbound
	if errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}
