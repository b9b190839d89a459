package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// BusyboxImages packs the machine's static busybox into an image archive,
// headway.dev/test/busybox:1, in a directory for --images-dir.
func BusyboxImages(tb testing.TB) string {
	tb.Helper()
	root := tb.TempDir()
	dir := filepath.Join(root, "images")
	for _, args := range [][]string{
		{"mkdir", "-p", dir, filepath.Join(root, "rootfs", "bin"), filepath.Join(root, "rootfs", "tmp")},
		{"cp", "/bin/busybox", filepath.Join(root, "rootfs", "bin")},
		{"chroot", filepath.Join(root, "rootfs"), "/bin/busybox", "--install", "-s", "/bin"},
		{"go", "run", "headway.dev/examples/web/archive", "-o", filepath.Join(dir, "busybox.tar"), "headway.dev/test/busybox:1=" + filepath.Join(root, "rootfs")},
	} {
		if out, err := exec.CommandContext(tb.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			tb.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return dir
}

// AllImages is BusyboxImages with those of the example beside it.
func AllImages(tb testing.TB) string {
	tb.Helper()
	dir := BusyboxImages(tb)
	if err := os.Symlink(filepath.Join(images, "web.tar"), filepath.Join(dir, "web.tar")); err != nil {
		tb.Fatal(err)
	}
	return dir
}
