package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What Build made, for the tests of this process.
var (
	headway string
	images  string
)

// Binary is the path of the program under test.
func Binary() string { return headway }

// Build compiles the program and packs the example's images. It returns a
// function that removes them.
func Build(ctx context.Context) (cleanup func(), err error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return nil, fmt.Errorf("find the module: %w", err)
	}
	root := strings.TrimSpace(string(out))
	dir, err := os.MkdirTemp("", "headway-e2e-")
	if err != nil {
		return nil, err
	}
	headway = filepath.Join(dir, "headway")
	images = filepath.Join(root, "build", "images")
	args := append([]string{"build", "-ldflags", ldflags + "-X k8s.io/component-base/version.gitVersion=v1.37.2+headway", "-o", headway}, raceFlags...)
	for _, command := range [][]string{
		append([]string{"go"}, append(args, "./cmd/headway")...),
		{"make", "images"},
	} {
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			os.RemoveAll(dir)
			return nil, fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
		}
	}
	return func() { os.RemoveAll(dir) }, nil
}

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
