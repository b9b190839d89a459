package volume_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/nodes/pod"
	"headway.dev/nodes/volume"
)

// kept is a manager with a directory of volumes, and one of them.
func kept(t *testing.T) (m *volume.Manager, pv *corev1.PersistentVolume, dir string) {
	t.Helper()
	base := t.TempDir()
	m = volume.New(filepath.Join(base, "pods"), slog.New(slog.DiscardHandler))
	m.Keep(filepath.Join(base, "volumes"))
	dir = filepath.Join(m.Kept(), "pvc-1")
	pv = &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-1", Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": storage.LocalProvisioner}}}
	pv.Spec.Local = &corev1.LocalVolumeSource{Path: dir}
	return m, pv, dir
}

func claiming(uid types.UID, sc *corev1.PodSecurityContext) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}, Spec: corev1.PodSpec{
		SecurityContext: sc, Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}}},
	}}
}

func factsOf(pv *corev1.PersistentVolume, err error) pod.Facts {
	return pod.Facts{Volume: func(string) (*corev1.PersistentVolume, error) { return pv, err }}
}

func group(t *testing.T, name string) (int, fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Sys().(*syscall.Stat_t).Gid), info.Mode()
}

// The data of a claim outlive the pods that have it, and what removes these.
func TestDataOutlivePods(t *testing.T) {
	m, pv, dir := kept(t)
	p := claiming("one", nil)
	if err := m.Setup(p, factsOf(nil, errors.New("PVC is not bound"))); err == nil || !strings.Contains(err.Error(), "PVC is not bound") {
		t.Errorf("a claim without a volume: got %v", err)
	}
	if err := m.Setup(p, factsOf(pv, nil)); err != nil {
		t.Fatal(err)
	}
	// The pod has it for good: nobody is asked again.
	if err := m.Setup(p, factsOf(nil, errors.New("the API is away"))); err != nil {
		t.Errorf("once more: %v", err)
	}
	mounts, err := m.Mounts(p, &corev1.Container{Name: "a", VolumeMounts: []corev1.VolumeMount{
		{Name: "data", MountPath: "/data"}, {Name: "data", MountPath: "/ro", ReadOnly: true}, {Name: "data", MountPath: "/sub", SubPath: "a/b"},
	}}, nil)
	if err != nil || len(mounts) != 3 || mounts[0].HostPath != dir || mounts[0].ReadOnly || !mounts[1].ReadOnly {
		t.Fatalf("mounts: got %+v, %v", mounts, err)
	}
	if err := os.WriteFile(filepath.Join(mounts[2].HostPath, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !m.Uses(dir) {
		t.Error("a pod has the volume, and nobody knows")
	}
	if err := m.Teardown("one"); err != nil {
		t.Fatal(err)
	}
	if m.Uses(dir) {
		t.Error("the pod is gone, and still has the volume")
	}
	if got, err := os.ReadFile(filepath.Join(dir, "a", "b", "file")); err != nil || string(got) != "x" {
		t.Errorf("after the pod: got %q, %v", got, err)
	}
	p.Spec.Volumes[0].PersistentVolumeClaim.ReadOnly = true
	if err := m.Setup(p, factsOf(pv, nil)); err != nil {
		t.Fatal(err)
	}
	mounts, err = m.Mounts(p, &corev1.Container{Name: "a", VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}}, nil)
	if err != nil || !mounts[0].ReadOnly {
		t.Errorf("read only: got %+v, %v", mounts, err)
	}
}

// The group of a pod gets all of a volume, and nothing that a symlink in it leads to.
func TestGroupOfVolume(t *testing.T) {
	m, pv, dir := kept(t)
	outside := filepath.Join(t.TempDir(), "outside")
	for _, name := range []string{outside, filepath.Join(dir, "sub", "file")} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"file": outside, "up": "../..", "dir": filepath.Dir(outside)} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	before, mode := group(t, outside)
	policy := corev1.FSGroupChangeOnRootMismatch
	sc := &corev1.PodSecurityContext{FSGroup: new(int64(4711)), FSGroupChangePolicy: &policy}
	if err := m.Setup(claiming("one", sc), factsOf(pv, nil)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{dir: 0o770, filepath.Join(dir, "sub"): 0o770, filepath.Join(dir, "sub", "file"): 0o660} {
		got, mode := group(t, name)
		if got != 4711 || mode.Perm()&want != want || mode.IsDir() && mode&fs.ModeSetgid == 0 {
			t.Errorf("%s: group %d, mode %v", name, got, mode)
		}
	}
	if got, now := group(t, outside); got != before || now != mode {
		t.Errorf("outside the volume: group %d, mode %v", got, now)
	}
	// What a subPath makes is the group's, too, and has the volume's mode.
	if _, err := m.Mounts(claiming("one", sc), &corev1.Container{Name: "a", VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/sub", SubPath: "deep/er"}}}, nil); err != nil {
		t.Fatal(err)
	}
	_, root := group(t, dir)
	if got, mode := group(t, filepath.Join(dir, "deep", "er")); got != 4711 || mode != root {
		t.Errorf("the directory of a subPath: group %d, mode %v, want %v", got, mode, root)
	}
	if got, mode := group(t, filepath.Join(dir, "deep")); got != 4711 || mode.Perm()&0o050 != 0o050 || mode&fs.ModeSetgid == 0 {
		t.Errorf("the directory above it: group %d, mode %v", got, mode)
	}
	// It is not done again while the root says that it was.
	file := filepath.Join(dir, "sub", "file")
	if err := os.Chown(file, -1, 12); err != nil {
		t.Fatal(err)
	}
	if err := m.Teardown("one"); err != nil {
		t.Fatal(err)
	}
	if err := m.Setup(claiming("two", sc), factsOf(pv, nil)); err != nil {
		t.Fatal(err)
	}
	if got, _ := group(t, file); got != 12 {
		t.Errorf("a file of a volume whose root is right: group %d", got)
	}
}

// What is removed is one directory of the manager's, whatever its name and content are.
func TestDiscard(t *testing.T) {
	m, pv, dir := kept(t)
	if err := m.Setup(claiming("one", nil), factsOf(pv, nil)); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "kept")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(m.Kept(), "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".", "..", "../pods", "pvc-1/..", "/"} {
		if err := m.Discard(name); err == nil {
			t.Errorf("%q was removed", name)
		}
	}
	for _, name := range []string{"pvc-1", "link", "pvc-1", "never"} {
		if err := m.Discard(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := os.ReadDir(m.Kept()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("what a symlink leads to: %v", err)
	}
}

// Volumes that others have made must be there.
func TestVolumesOfOthers(t *testing.T) {
	m, _, _ := kept(t)
	missing := filepath.Join(t.TempDir(), "missing")
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-1"}}
	pv.Spec.Local = &corev1.LocalVolumeSource{Path: missing}
	if err := m.Setup(claiming("one", nil), factsOf(pv, nil)); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("a local volume: got %v", err)
	}
	// A volume that says it is the manager's, and lies elsewhere, is not made either.
	pv.Annotations = map[string]string{"pv.kubernetes.io/provisioned-by": storage.LocalProvisioner}
	if err := m.Setup(claiming("one", nil), factsOf(pv, nil)); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("a volume elsewhere: got %v", err)
	}
	pv.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: missing}}
	if err := m.Setup(claiming("two", nil), factsOf(pv, nil)); err != nil {
		t.Errorf("a hostPath: %v", err)
	}
	if _, err := os.Stat(missing); err != nil {
		t.Errorf("a hostPath without a type is made: %v", err)
	}
}
