package runtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// shimSocket is where the shim of a pod listens. containerd derives the name
// from its own address, the namespace and the group, and puts it into a
// directory that all containerds of the machine share: runtime/v2/shim
// SocketAddress.
func shimSocket(address, namespace, podUID string) string {
	return fmt.Sprintf("/run/containerd/s/%x", sha256.Sum256([]byte(filepath.Join(address, namespace, podUID))))
}

// removeShimSocket removes what a shim that was killed leaves; one that lives
// removes its socket itself when it ends.
func removeShimSocket(ctx context.Context, address, namespace, podUID string) error {
	path := shimSocket(address, namespace, podUID)
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
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	has := func(args [][]byte, flag, value string) bool {
		i := slices.IndexFunc(args, func(a []byte) bool { return string(a) == flag })
		return i >= 0 && i+1 < len(args) && string(args[i+1]) == value
	}
	for _, line := range lines {
		data, err := os.ReadFile(line)
		if err != nil {
			continue // it has ended
		}
		args := bytes.Split(data, []byte{0})
		if !bytes.Contains(args[0], []byte("containerd-shim")) || !has(args, "-address", address) || !has(args, "-namespace", namespace) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line)))
		if err != nil {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end shim %d: %w", pid, err)
		}
	}
	return nil
}
