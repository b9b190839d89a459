package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// What Build made, for the tests of this process.
var (
	headway string
	images  string
)

// Program is the path of the program under test.
func Program() string { return headway }

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
