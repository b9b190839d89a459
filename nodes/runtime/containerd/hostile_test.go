package containerd_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
)

// TestHostileImages: whatever an image has for the files that tell its users,
// the node is not held up by it, does not read what lies outside, and starts
// what else there is.
func TestHostileImages(t *testing.T) {
	n := nodetest.Names(t)
	n.Config.ParallelStarts = 1
	n.Restart(t)
	importImage(t, n, nodetest.ToolImage, nodetest.ImageOptions{})
	for name, c := range map[string]struct {
		header tar.Header
		want   string
	}{
		"fifo":         {tar.Header{Name: "etc/passwd", Typeflag: tar.TypeFifo, Mode: 0o644}, "/etc/passwd of the image is not a regular file but a named pipe"},
		"fifo-group":   {tar.Header{Name: "etc/group", Typeflag: tar.TypeFifo, Mode: 0o644}, "/etc/group of the image is not a regular file but a named pipe"},
		"huge":         {tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644, Size: 5 << 20}, "/etc/passwd of the image has 5242880 bytes"},
		"directory":    {tar.Header{Name: "etc/passwd/", Typeflag: tar.TypeDir, Mode: 0o755}, "/etc/passwd of the image is not a regular file but a directory"},
		"device":       {tar.Header{Name: "etc/passwd", Typeflag: tar.TypeChar, Mode: 0o644, Devmajor: 1, Devminor: 5}, "/etc/passwd of the image is not a regular file but a device"},
		"link-zero":    {tar.Header{Name: "etc/passwd", Typeflag: tar.TypeSymlink, Linkname: "/dev/zero"}, "/etc/passwd of the image is not a regular file but a link to /dev/zero"},
		"link-stdin":   {tar.Header{Name: "etc/group", Typeflag: tar.TypeSymlink, Linkname: "../proc/self/fd/0"}, "/etc/group of the image is not a regular file but a link to /proc/self/fd/0"},
		"link-loop":    {tar.Header{Name: "etc/passwd", Typeflag: tar.TypeSymlink, Linkname: "passwd"}, "/etc/passwd of the image cannot be opened: "},
		"link-outside": {tar.Header{Name: "etc/passwd", Typeflag: tar.TypeSymlink, Linkname: "../../../../../../../../etc/group"}, `unable to find user nobody: no matching entries in passwd file`},
	} {
		importImage(t, n, name+":1", nodetest.ImageOptions{User: "nobody", Instead: []tar.Header{c.header}})
		pod := nodetest.Sandbox(name)
		if _, err := n.EnsureSandbox(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		failed := make(chan error, 1)
		go func() {
			_, err := n.CreateContainer(ctx, pod, runtime.ContainerConfig{Name: "main", Image: name + ":1", Args: []string{"exit"}})
			failed <- err
		}()
		select {
		case err := <-failed:
			var config *runtime.ConfigError
			if !errors.As(err, &config) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: CreateContainer = %v, want a ConfigError with %q", name, err, c.want)
			}
		case <-ctx.Done():
			t.Fatalf("%s holds up the node", name)
		}
		cancel()
	}
	if got := n.WaitExited(t, n.Run(t, nodetest.Sandbox("other"), "main", "exit", "3")); got.ExitCode != 3 {
		t.Errorf("another pod = %+v, want exit code 3", got)
	}
}

// TestHangingStart: a container can bring runc to wait for ever, here by a FIFO
// that an earlier container of its pod left at the place of /etc/passwd. It
// keeps nobody else from starting, and goes when nobody waits for it.
func TestHangingStart(t *testing.T) {
	n := nodetest.Names(t)
	n.Config.ParallelStarts = 1
	n.Restart(t)
	importImage(t, n, nodetest.ToolImage, nodetest.ImageOptions{})
	trap := filepath.Join(t.TempDir(), "passwd")
	if err := unix.Mkfifo(trap, 0o644); err != nil {
		t.Fatal(err)
	}
	pod := nodetest.Sandbox("hangs")
	if _, err := n.EnsureSandbox(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	c, err := n.CreateContainer(t.Context(), pod, runtime.ContainerConfig{
		Name: "main", Image: nodetest.ToolImage, Args: []string{"sleep"},
		Mounts: []runtime.Mount{{HostPath: trap, ContainerPath: "/etc/passwd"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started := make(chan error, 1)
	go func() { started <- n.StartContainer(ctx, c.ID) }()

	if got := n.WaitExited(t, n.Run(t, nodetest.Sandbox("other"), "main", "exit", "3")); got.ExitCode != 3 {
		t.Errorf("another pod = %+v, want exit code 3", got)
	}
	select {
	case err := <-started:
		t.Fatalf("the start did not hang (%v): the test proves nothing", err)
	default:
	}
	cancel()
	select {
	case err := <-started:
		if err == nil {
			t.Error("a start that was ended reports success")
		}
	case <-time.After(40 * time.Second):
		// Let it go, so that the cleanup can end.
		if f, err := os.OpenFile(trap, os.O_RDWR, 0); err == nil {
			defer f.Close()
		}
		t.Fatalf("the start still hangs after it was given up: %v", <-started)
	}
	if err := n.RemoveSandbox(t.Context(), pod.PodRef); err != nil {
		t.Error(err)
	}
}

// TestHostNameFileIsTheContainers: what a container writes into its
// /etc/hostname is nothing that the node reads.
func TestHostNameFileIsTheContainers(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("named")
	n.WaitExited(t, n.Run(t, pod, "writer", "write", "/etc/hostname", strings.Repeat("x", 1<<20)))
	if got := output(t, n, pod, runtime.ContainerConfig{Name: "reader", Args: []string{"env"}}); !bytes.Contains([]byte(got), []byte("HOSTNAME=named\n")) {
		t.Errorf("the environment lacks HOSTNAME=named: %.200s", got)
	}
}
