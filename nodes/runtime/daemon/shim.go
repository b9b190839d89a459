package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"headway.dev/nodes/runtime/fsutil"
)

// shimSockets is where the shims of all containerds of a machine listen.
const shimSockets = "/run/containerd/s/"

// ShimSocket returns the path of the socket of a pod's shim. containerd derives
// the name from its own address, the namespace and the group, and puts it into
// one directory: runtime/v2/shim SocketAddress.
func ShimSocket(address, namespace, podUID string) string {
	return fmt.Sprintf(shimSockets+"%x", sha256.Sum256([]byte(filepath.Join(address, namespace, podUID))))
}

// RemoveShimSocket removes the socket of a shim that was killed; a shim that
// ends normally removes its own.
func RemoveShimSocket(ctx context.Context, address, namespace, podUID string) error {
	return removeDeadSocket(ctx, ShimSocket(address, namespace, podUID))
}

// removeDeadSocket removes a socket that nobody listens on.
func removeDeadSocket(ctx context.Context, path string) error {
	conn, err := dialUnix(ctx, path)
	if err == nil {
		return conn.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return nil // it is not there, or still in use
	}
	if err := fsutil.IgnoreNotExist(os.Remove(path)); err != nil {
		return fmt.Errorf("remove the socket of a dead shim: %w", err)
	}
	return nil
}

// KillShims ends the shims of a containerd address and namespace.
func KillShims(address, namespace string) error {
	found, err := findShims(address, namespace)
	if err != nil {
		return err
	}
	for _, s := range found {
		if err := unix.Kill(s.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end shim %d: %w", s.pid, err)
		}
	}
	return nil
}

// groupingShim is the shim of the default runtime, of which there is one for each pod.
// Where those of other runtimes listen is up to them.
const groupingShim = "containerd-shim-runc-v2"

// EndIdleShims ends the shims of the default runtime with a containerd address and
// namespace that listen on none of these sockets.
func EndIdleShims(ctx context.Context, address, namespace string, serves map[string]bool, log *slog.Logger) error {
	found, err := findShims(address, namespace)
	if err != nil || len(found) == 0 {
		return err
	}
	paths, err := unixSockets()
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range found {
		if s.program != groupingShim {
			continue
		}
		socket := s.socket(paths)
		// One without a socket is only on its way: containerd's helper.
		if socket == "" || serves[socket] {
			continue
		}
		log.Info("ending a shim without a container", "pid", s.pid)
		if err := unix.Kill(s.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("end shim %d: %w", s.pid, err))
			continue
		}
		errs = append(errs, removeDeadSocket(ctx, socket))
	}
	return errors.Join(errs...)
}

func hasFlag(args [][]byte, flag, value string) bool {
	i := slices.IndexFunc(args, func(a []byte) bool { return string(a) == flag })
	return i >= 0 && i+1 < len(args) && string(args[i+1]) == value
}

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

// shimProcess is a shim that runs.
type shimProcess struct {
	pid     int
	program string
}

// findShims lists the shims of a containerd address and namespace.
func findShims(address, namespace string) ([]shimProcess, error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var out []shimProcess
	for _, line := range lines {
		data, err := os.ReadFile(line)
		if err != nil {
			continue // it has ended
		}
		args := bytes.Split(data, []byte{0})
		if !bytes.Contains(args[0], []byte("containerd-shim")) || !hasFlag(args, "-address", address) || !hasFlag(args, "-namespace", namespace) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line))); err == nil {
			out = append(out, shimProcess{pid, filepath.Base(string(args[0]))})
		}
	}
	return out, nil
}

// Socket is the path the shim listens on, of those the kernel knows.
func (s shimProcess) socket(paths map[string]string) string {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.pid))
	if err != nil {
		return ""
	}
	for _, file := range files {
		target, err := os.Readlink(file)
		if err != nil {
			continue
		}
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			if path := paths[strings.TrimSuffix(inode, "]")]; strings.HasPrefix(path, shimSockets) {
				return path
			}
		}
	}
	return ""
}

// unixSockets are the paths of the machine's sockets by inode.
func unixSockets() (map[string]string, error) {
	data, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 8 {
			out[f[6]] = f[7]
		}
	}
	return out, nil
}
