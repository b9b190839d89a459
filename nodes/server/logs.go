package server

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/loop"
	"headway.dev/nodes/logs"
	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

// containerLogs answers with a container's log as text.
func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) {
	opts, previous, err := logOptions(r.URL.Query(), time.Now())
	if err != nil {
		http.Error(w, fmt.Sprintf(`{"message": %q}`, err.Error()), http.StatusUnprocessableEntity)
		return
	}
	p, ok := s.pods.Pod(r.PathValue("namespace"), r.PathValue("pod"))
	if !ok {
		http.Error(w, fmt.Sprintf("pod %q does not exist", r.PathValue("pod")), http.StatusNotFound)
		return
	}
	name := r.PathValue("container")
	path, id, err := s.logPath(r, p, name, previous)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	opts.Running = func() bool {
		observed, err := s.runtime.Get(r.Context(), string(p.UID))
		if err != nil {
			return r.Context().Err() == nil
		}
		for _, c := range observed.Containers {
			if c.ID == id {
				return c.State != runtime.Exited
			}
		}
		return false
	}
	w.Header().Set("Content-Type", "text/plain")
	out := flushing(w, opts.Follow)
	stdout, stderr := out, out
	switch r.URL.Query().Get("stream") {
	case "Stdout":
		stderr = io.Discard
	case "Stderr":
		stdout = io.Discard
	}
	if err := logs.Read(r.Context(), path, opts, stdout, stderr); err != nil && r.Context().Err() == nil {
		s.log.Warn("reading a container's log failed", "pod", pod.Describe(p), "container", name, "err", err)
	}
}

// logPath finds the log file of a container; its errors are the kubelet's.
func (s *Server) logPath(r *http.Request, p *corev1.Pod, name string, previous bool) (path, id string, err error) {
	if pod.Container(p, name) == nil {
		return "", "", fmt.Errorf("container %q in pod %q is not available", name, p.Name)
	}
	observed, err := s.runtime.Get(r.Context(), string(p.UID))
	if err != nil {
		return "", "", fmt.Errorf("look for container %q in pod %q: %w", name, p.Name, err)
	}
	if c, ok := newest(observed, name, previous); ok {
		if c.State == runtime.Created {
			return "", "", waiting(p, name, "ContainerCreating")
		}
		return s.runtime.LogPath(pod.Ref(p), name, c.Attempt), c.ID, nil
	}
	// The containers of a finished pod are gone, their logs are not.
	if status := pod.ContainerStatus(p, name); status != nil && len(observed.Containers) == 0 && status.ContainerID != "" {
		attempt := int(status.RestartCount)
		if previous {
			attempt--
		}
		path := s.runtime.LogPath(pod.Ref(p), name, attempt)
		if _, err := os.Stat(path); err == nil && attempt >= 0 {
			return path, "", nil
		}
		// The pod is being removed, and its logs with it.
		if !previous {
			return "", "", fmt.Errorf("unable to retrieve container logs for %s", status.ContainerID)
		}
	}
	if previous {
		return "", "", fmt.Errorf("previous terminated container %q in pod %q not found", name, p.Name)
	}
	reason := "ContainerCreating"
	if status := pod.ContainerStatus(p, name); status != nil && status.State.Waiting != nil {
		reason = status.State.Waiting.Reason
	}
	switch reason {
	case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull":
		return "", "", fmt.Errorf("container %q in pod %q is waiting to start: trying and failing to pull image", name, p.Name)
	}
	return "", "", waiting(p, name, reason)
}

func waiting(p *corev1.Pod, name, reason string) error {
	return fmt.Errorf("container %q in pod %q is waiting to start: %s", name, p.Name, reason)
}

// logOptions reads the query as PodLogOptions has it.
func logOptions(q url.Values, now time.Time) (opts logs.Options, previous bool, err error) {
	opts.TailLines = -1
	number := func(name string, minimum int64, set func(int64)) {
		text := q.Get(name)
		if text == "" || err != nil {
			return
		}
		n, parse := strconv.ParseInt(text, 10, 64)
		if parse != nil || n < minimum {
			err = fmt.Errorf("invalid %s %q: must be a number of at least %d", name, text, minimum)
			return
		}
		set(n)
	}
	flag := func(name string) bool {
		text, given := q.Get(name), q.Has(name)
		if !given || err != nil {
			return false
		}
		if text == "" {
			return true
		}
		on, parse := strconv.ParseBool(text)
		if parse != nil {
			err = fmt.Errorf("invalid %s %q: must be true or false", name, text)
		}
		return on
	}
	if q.Get("tailLines") != "all" {
		number("tailLines", 0, func(n int64) { opts.TailLines = n })
	}
	number("limitBytes", 1, func(n int64) { opts.LimitBytes = n })
	number("sinceSeconds", 1, func(n int64) { opts.Since = now.Add(-loop.Seconds(n)) })
	if text := q.Get("sinceTime"); text != "" && err == nil {
		if opts.Since, err = time.Parse(time.RFC3339, text); err != nil {
			err = fmt.Errorf("invalid sinceTime: %w", err)
		}
	}
	opts.Follow, opts.Timestamps = flag("follow"), flag("timestamps")
	previous = flag("previous")
	return opts, previous, err
}

// flushing sends every write at once to a reader that follows.
func flushing(w http.ResponseWriter, follow bool) io.Writer {
	if !follow {
		return w
	}
	c := http.NewResponseController(w)
	// The headers too: the client waits for them even if no line comes.
	_ = c.Flush()
	return flushWriter{w, c}
}

type flushWriter struct {
	w io.Writer
	c *http.ResponseController
}

func (f flushWriter) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.c.Flush()
	}
	return n, err
}
