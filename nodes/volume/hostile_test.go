package volume_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/nodetest"
)

// TestSubPathToFIFO: a FIFO that a container made must not keep the agent
// waiting for its other end.
func TestSubPathToFIFO(t *testing.T) {
	m := setup(t)
	p := newPod(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	facts := (&objects{}).facts()
	if err := m.Setup(p, facts); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(m.PodDir(p.UID), "volumes", "v", "trap")
	if err := unix.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	c := &corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v", SubPath: "trap"}}}
	done := make(chan error, 1)
	go func() {
		_, err := m.Mounts(p, c, nil)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the mount waits for the FIFO")
		if f, err := os.OpenFile(fifo, os.O_RDWR, 0); err == nil { // let it go
			t.Log(<-done)
			f.Close()
		}
	}
}

// TestVolumesAreClosedToOthers: the volumes themselves are open to any user of
// the pod, so the way to them is closed to the node's users.
func TestVolumesAreClosedToOthers(t *testing.T) {
	m := setup(t)
	p := newPod()
	if err := m.Setup(p, (&objects{}).facts()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Dir(m.PodDir(p.UID)))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("mode of the pods' directory = %o, want 700", got)
	}
}

// TestHungHostPath: a file system that does not answer fails the volume, and
// nothing waits for it for ever.
func TestHungHostPath(t *testing.T) {
	m, dir := setup(t), t.TempDir()
	nodetest.HungFS(t, dir)
	hung := filepath.Join(dir, "below")
	p := newPod(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: hung}}})
	c := &corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v", SubPath: "sub"}}}
	done := make(chan error, 3)
	go func() {
		done <- m.Setup(p, (&objects{}).facts())
		done <- m.Setup(p, (&objects{}).facts())
		_, err := m.Mounts(p, c, nil)
		done <- err
	}()
	for _, want := range []string{"does not answer", "still does not answer", "does not answer"} {
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("a hung file system: %v, want %q", err, want)
			}
		case <-time.After(time.Minute):
			t.Fatal("the volume waits for its file system")
		}
	}
}
