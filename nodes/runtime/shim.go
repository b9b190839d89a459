package runtime

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// shimSockets is where the shims of all containerds of a machine listen.
const shimSockets = "/run/containerd/s/"

// shimSocket is where the shim of a pod listens. containerd derives the name
// from its own address, the namespace and the group, and puts it into
// one directory: runtime/v2/shim SocketAddress.
func shimSocket(address, namespace, podUID string) string {
	return fmt.Sprintf(shimSockets+"%x", sha256.Sum256([]byte(filepath.Join(address, namespace, podUID))))
}

// removeShimSocket removes what a shim that was killed leaves; one that lives
// removes its socket itself when it ends.
func removeShimSocket(ctx context.Context, address, namespace, podUID string) error {
	return removeDeadSocket(ctx, shimSocket(address, namespace, podUID))
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
	if err := ignoreNotExist(os.Remove(path)); err != nil {
		return fmt.Errorf("remove the socket of a dead shim: %w", err)
	}
	return nil
}

// killShims ends the shims of a containerd address and namespace.
func killShims(address, namespace string) error {
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

func hasFlag(args [][]byte, flag, value string) bool {
	i := slices.IndexFunc(args, func(a []byte) bool { return string(a) == flag })
	return i >= 0 && i+1 < len(args) && string(args[i+1]) == value
}
