package nodetest

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// HungFS mounts a file system at dir that answers nothing until the test ends:
// a FUSE file system whose server does not read its requests.
func HungFS(tb testing.TB, dir string) {
	tb.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		tb.Fatalf("open /dev/fuse: %v", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)
	if err := unix.Mount("hung", dir, "fuse.hung", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		tb.Fatal(errors.Join(err, unix.Close(fd)))
	}
	tb.Cleanup(func() {
		// Without the server all requests fail.
		if err := errors.Join(unix.Close(fd), unix.Unmount(dir, unix.MNT_DETACH)); err != nil {
			tb.Error(err)
		}
	})
}
