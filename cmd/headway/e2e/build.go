package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What Build made, for the tests of this process.
var (
	headway string
	images  string
	module  string // the folder of go.mod
)

// Version is that of the program under test. It is long, so that nothing else in the
// program is like it, see [OfVersion].
const Version = "v0.5.0-e2e.6c1f9b3a"

// OfVersion is the program under test as one of another version, which is as long.
func OfVersion(tb testing.TB, version string) (binary string) {
	tb.Helper()
	program, err := os.ReadFile(headway)
	if err != nil {
		tb.Fatal(err)
	}
	if len(version) != len(Version) || !bytes.Contains(program, []byte(Version)) {
		tb.Fatalf("the program has no version %s that could be %s", Version, version)
	}
	binary = filepath.Join(tb.TempDir(), "headway")
	if err := os.WriteFile(binary, bytes.ReplaceAll(program, []byte(Version), []byte(version)), 0o755); err != nil { //nolint:gosec // it is a program
		tb.Fatal(err)
	}
	return binary
}

// Binary is the path of the program under test.
func Binary() string { return headway }

// Build compiles the program and packs the example's images. It returns a
// function that removes them.
func Build(ctx context.Context) (cleanup func(), err error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return nil, fmt.Errorf("find the module: %w", err)
	}
	module = strings.TrimSpace(string(out))
	dir, err := os.MkdirTemp("", "headway-e2e-")
	if err != nil {
		return nil, err
	}
	headway = filepath.Join(dir, "headway")
	images = filepath.Join(module, "build", "images")
	args := append([]string{"build", "-ldflags", ldflags + "-X main.version=" + Version + " -X k8s.io/component-base/version.gitVersion=v1.37.2+headway", "-o", headway}, raceFlags...)
	for _, command := range [][]string{
		append([]string{"go"}, append(args, "./cmd/headway")...),
		{"make", "images"},
	} {
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Dir = module
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			os.RemoveAll(dir)
			return nil, fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
		}
	}
	return func() { os.RemoveAll(dir) }, nil
}

// BusyboxImages packs the machine's static busybox into an image archive,
// headway.dev/test/busybox:1, in a directory for --images-dir. Programs of the module
// are in the image, too.
func BusyboxImages(tb testing.TB, programs ...string) string {
	tb.Helper()
	root := tb.TempDir()
	dir := filepath.Join(root, "images")
	commands := [][]string{
		{"mkdir", "-p", dir, filepath.Join(root, "rootfs", "bin"), filepath.Join(root, "rootfs", "tmp")},
		{"cp", "/bin/busybox", filepath.Join(root, "rootfs", "bin")},
		{"chroot", filepath.Join(root, "rootfs"), "/bin/busybox", "--install", "-s", "/bin"},
	}
	for _, program := range programs {
		commands = append(commands, []string{"env", "CGO_ENABLED=0", "go", "build", "-o", filepath.Join(root, "rootfs", "bin"), program})
	}
	for _, args := range append(commands,
		[]string{"go", "run", "headway.dev/examples/web/archive", "-o", filepath.Join(dir, "busybox.tar"), "headway.dev/test/busybox:1=" + filepath.Join(root, "rootfs")},
	) {
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

// JavaScript installs the packages of testdata/javascript below the folder that
// it returns, if they are not there yet.
func JavaScript(tb testing.TB) string {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), "make", "javascript")
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("make javascript: %v\n%s", err, out)
	}
	return filepath.Join(module, "build", "javascript")
}

// Helm builds a major version of Helm.
func Helm(tb testing.TB, major string) string {
	tb.Helper()
	return buildIn(tb, filepath.Join("tools", "helm"), "helm-"+major, "helm.sh/helm/"+major+"/cmd/helm")
}

// OperatorImage builds testdata/operator and packs it into an image archive,
// headway.dev/test/operator:1.
func OperatorImage(tb testing.TB) string {
	tb.Helper()
	var static []string // as it is without cgo
	if cgo == "1" {
		static = []string{"-ldflags", "-linkmode=external -extldflags=-static"}
	}
	binary := buildIn(tb, filepath.Join("cmd", "headway", "e2e", "testdata", "operator"), "operator", ".", static...)
	dir := tb.TempDir()
	archive := filepath.Join(dir, "operator.tar")
	for _, args := range [][]string{
		{"mkdir", "-p", filepath.Join(dir, "rootfs", "bin"), filepath.Join(dir, "rootfs", "tmp")},
		{"cp", binary, filepath.Join(dir, "rootfs", "bin", "operator")},
		{"go", "run", "headway.dev/examples/web/archive", "-o", archive, "headway.dev/test/operator:1=" + filepath.Join(dir, "rootfs")},
	} {
		if out, err := exec.CommandContext(tb.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			tb.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return archive
}

// buildIn builds a package of another module, with or without the race detector
// as Headway is built: the two have most packages in common.
func buildIn(tb testing.TB, dir, name, pkg string, flags ...string) string {
	tb.Helper()
	binary := filepath.Join(module, "build", name)
	if Race {
		binary += "-race"
	}
	args := slices.Concat([]string{"build", "-o", binary}, raceFlags, flags, []string{pkg})
	cmd := exec.CommandContext(tb.Context(), "go", args...)
	cmd.Dir = filepath.Join(module, dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return binary
}
