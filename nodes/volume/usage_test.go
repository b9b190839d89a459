package volume_test

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// TestUsageCountsInodes: a file counts once however many names it has, what is
// on another file system not at all, and the directory itself does.
func TestUsageCountsInodes(t *testing.T) {
	m := setup(t)
	p := newPod(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	if err := m.Setup(p, (&objects{}).facts()); err != nil {
		t.Fatal(err)
	}
	_, _, before, err := m.Usage(p)
	if err != nil || before != 1 {
		t.Errorf("Usage of an empty volume = %d inodes, %v; want its directory", before, err)
	}
	if err := os.WriteFile(path(m, "0"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := os.Link(path(m, "0"), path(m, fmt.Sprint("link", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(path(m, "other"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", path(m, "other"), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path(m, "other"), 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(path(m, "other", "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, after, err := m.Usage(p); err != nil || after-before != 1 {
		t.Errorf("Usage of one file with 21 names = %d inodes more, %v; want 1", after-before, err)
	}
}
