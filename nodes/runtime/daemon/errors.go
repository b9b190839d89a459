package daemon

import (
	"context"
	"errors"
	"strings"
)

// ShimGone recognises the errors of talking to a shim that has just ended.
func ShimGone(err error) bool {
	text := err.Error()
	return strings.Contains(text, "ttrpc: closed") || strings.Contains(text, "ttrpc: server closed") ||
		strings.Contains(text, "connect: connection refused") || strings.Contains(text, "shim.sock") ||
		strings.Contains(text, "connect: no such file or directory")
}

// Leftover reports whether a create failed because of what an earlier attempt
// for the same container left: the task's directory, or runc's state.
func Leftover(err error) bool {
	text := err.Error()
	return strings.Contains(text, "io.containerd.runtime.v2.task") && strings.Contains(text, "file exists") ||
		strings.Contains(text, "container with given ID already exists") || strings.Contains(text, "container with id exists")
}

// Interrupted reports whether a start failed for a reason unrelated to the
// container: containerd or the shim went away, or did not answer.
func Interrupted(err error) bool {
	text := err.Error()
	switch {
	case Leftover(err):
		return true
	case strings.Contains(text, "OCI runtime"):
		return false // runc's word on the container
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), ShimGone(err):
		return true
	}
	for _, s := range []string{
		"error reading from server", "transport is closing", "connection reset by peer", "context deadline exceeded",
		"context canceled", "broken pipe", "error while dialing", "signal: killed",
	} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}
