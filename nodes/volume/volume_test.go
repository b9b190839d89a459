package volume_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/volume"
)

// setup is a manager on a directory of the test, whose mounts end with it.
func setup(t *testing.T) *volume.Manager {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts file systems: run it as root, for example with sudo make test")
	}
	m := volume.New(t.TempDir(), slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		uids, err := m.Pods()
		if err != nil {
			t.Error(err)
		}
		for _, uid := range uids {
			if err := m.Teardown(uid); err != nil {
				t.Error(err)
			}
		}
	})
	return m
}

func newPod(volumes ...corev1.Volume) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u1", Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{Volumes: volumes}}
}

func configMap(items ...corev1.KeyToPath) corev1.Volume {
	return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Items: items}}}
}

// objects are the API's objects, to be changed by the test.
type objects struct {
	data   map[string]string
	secret map[string][]byte
}

func (o *objects) facts() pod.Facts {
	return pod.Facts{
		ConfigMap: func(name string) (*corev1.ConfigMap, error) {
			if o.data == nil {
				return nil, apierrors.NewNotFound(corev1.Resource("configmap"), name)
			}
			return &corev1.ConfigMap{Data: o.data}, nil
		},
		Secret: func(name string) (*corev1.Secret, error) {
			if o.secret == nil {
				return nil, apierrors.NewNotFound(corev1.Resource("secret"), name)
			}
			return &corev1.Secret{Data: o.secret}, nil
		},
	}
}

// path is where the volume v is on the disk.
func path(m *volume.Manager, parts ...string) string {
	return filepath.Join(append([]string{m.PodDir("u1"), "volumes", "v"}, parts...)...)
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestConfigMapFollows(t *testing.T) {
	m, o := setup(t), &objects{data: map[string]string{"a": "1", "b": "2"}}
	p := newPod(configMap())
	check := func(want map[string]string) {
		t.Helper()
		if err := m.Setup(p, o.facts()); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(path(m))
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "..") {
				continue
			}
			seen++
			if got := read(t, path(m, e.Name())); got != want[e.Name()] {
				t.Errorf("%s: got %q, want %q", e.Name(), got, want[e.Name()])
			}
		}
		if seen != len(want) {
			t.Errorf("got %d keys, want %d", seen, len(want))
		}
		versions, _ := filepath.Glob(path(m, "..2*"))
		if len(versions) != 1 {
			t.Errorf("got versions %v, want one", versions)
		}
	}
	check(map[string]string{"a": "1", "b": "2"})
	before, _ := os.Readlink(path(m, "..data"))
	check(map[string]string{"a": "1", "b": "2"})
	if after, _ := os.Readlink(path(m, "..data")); after != before {
		t.Errorf("an unchanged ConfigMap was written again: %s, %s", before, after)
	}
	o.data = map[string]string{"a": "new", "c": "3"}
	check(map[string]string{"a": "new", "c": "3"})
	// A crash in the middle of a write leaves these.
	if err := os.MkdirAll(path(m, "..2020_01_01_00_00_00.1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", path(m, "..data_tmp")); err != nil {
		t.Fatal(err)
	}
	o.data = map[string]string{"d": "4"}
	check(map[string]string{"d": "4"})
}

// TestSwapIsAtomic: whoever resolves ..data sees all keys of one version.
func TestSwapIsAtomic(t *testing.T) {
	m, o := setup(t), &objects{}
	p := newPod(configMap())
	version := func(i int) map[string]string {
		s := fmt.Sprint(i)
		return map[string]string{"a": s, "b": s, "c": s}
	}
	o.data = version(0)
	if err := m.Setup(p, o.facts()); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := os.Lstat(path(m, "..data")); err != nil {
				t.Errorf("the volume has no link to its version: %v", err)
				return
			}
			dir, err := os.Open(path(m, "..data"))
			if errors.Is(err, fs.ErrNotExist) {
				continue // the version went between the look at the link and that behind it
			}
			if err != nil {
				t.Errorf("the volume has no version: %v", err)
				return
			}
			values := map[string]bool{}
			for _, key := range []string{"a", "b", "c"} {
				data, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), key))
				if err == nil { // the version may just have been removed
					values[string(data)] = true
				}
			}
			dir.Close()
			if len(values) > 1 {
				t.Errorf("one version shows %v", values)
			}
		}
	})
	for i := range 200 {
		o.data = version(i)
		if err := m.Setup(p, o.facts()); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestModesAndOwners(t *testing.T) {
	m, o := setup(t), &objects{data: map[string]string{"a": "1", "b": "2"}}
	p := newPod(configMap(corev1.KeyToPath{Key: "a", Path: "deep/er/a", Mode: ptr.To[int32](0o400)}, corev1.KeyToPath{Key: "b", Path: "b"}))
	p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To[int64](4321)}
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	if err := m.Setup(p, o.facts()); err != nil {
		t.Fatal(err)
	}
	for file, mode := range map[string]fs.FileMode{path(m, "deep/er/a"): 0o440, path(m, "b"): 0o644, filepath.Join(m.PodDir("u1"), "volumes", "e"): 0o777 | fs.ModeSetgid} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode() & (fs.ModePerm | fs.ModeSetgid); got != mode {
			t.Errorf("%s: got mode %v, want %v", file, got, mode)
		}
		var st unix.Stat_t
		if err := unix.Stat(file, &st); err != nil || st.Gid != 4321 {
			t.Errorf("%s: got group %d (%v), want 4321", file, st.Gid, err)
		}
	}
}

func fsType(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Type
}

func TestMemory(t *testing.T) {
	m, o := setup(t), &objects{secret: map[string][]byte{"pin": []byte("1234")}}
	size := resource.MustParse("1Mi")
	p := newPod(
		corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}},
		corev1.Volume{Name: "mem", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &size}}},
	)
	mem := filepath.Join(m.PodDir("u1"), "volumes", "mem")
	for range 2 { // the second time changes nothing
		if err := m.Setup(p, o.facts()); err != nil {
			t.Fatal(err)
		}
		if fsType(t, path(m)) != unix.TMPFS_MAGIC || fsType(t, mem) != unix.TMPFS_MAGIC {
			t.Error("not in memory")
		}
		if got := read(t, path(m, "pin")); got != "1234" {
			t.Errorf("pin: got %q", got)
		}
		if err := os.WriteFile(filepath.Join(mem, "kept"), nil, 0o644); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(filepath.Join(mem, "big"), make([]byte, 2<<20), 0o644); err == nil {
		t.Error("the size limit does not hold")
	}
	if err := m.Teardown("u1"); err != nil {
		t.Fatal(err)
	}
	if mounts := read(t, "/proc/self/mountinfo"); strings.Contains(mounts, m.PodDir("u1")) {
		t.Error("a mount is left")
	}
	if _, err := os.Stat(m.PodDir("u1")); err == nil {
		t.Error("the directory is left")
	}
	if err := m.Teardown("u1"); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestProjected(t *testing.T) {
	m, o := setup(t), &objects{data: map[string]string{"a": "1"}, secret: map[string][]byte{"pin": []byte("1234")}}
	p := newPod(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}},
		{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}},
	}}}})
	if err := m.Setup(p, o.facts()); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"a": "1", "pin": "1234", "labels": `a="b"`} {
		if got := read(t, path(m, key)); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	m := setup(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	host := func(path string, kind corev1.HostPathType) corev1.Volume {
		return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &kind}}}
	}
	for _, c := range []struct {
		name   string
		volume corev1.Volume
		data   map[string]string
		want   string
	}{
		{"no ConfigMap", configMap(), nil, `MountVolume.SetUp failed for volume "v" : configmap "cm" not found`},
		{"no key", configMap(corev1.KeyToPath{Key: "x", Path: "x"}), map[string]string{}, `MountVolume.SetUp failed for volume "v" : configmap references non-existent config key: x`},
		{"a way out", configMap(corev1.KeyToPath{Key: "a", Path: "../../../escape"}), map[string]string{"a": ""}, `MountVolume.SetUp failed for volume "v" : invalid path "../../../escape": it must be relative and must not start with '..'`},
		{"no directory", host(file, corev1.HostPathDirectory), nil, `MountVolume.SetUp failed for volume "v" : hostPath type check failed: ` + file + ` is not a directory`},
		{"no file", host(file+"x", corev1.HostPathFile), nil, `MountVolume.SetUp failed for volume "v" : hostPath type check failed: ` + file + `x is not a file`},
		{"no socket", host(file, corev1.HostPathSocket), nil, `MountVolume.SetUp failed for volume "v" : hostPath type check failed: ` + file + ` is not a socket file`},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := &objects{data: c.data}
			if err := m.Setup(newPod(c.volume), o.facts()); err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
	optional := configMap()
	optional.ConfigMap.Optional = new(true)
	if err := m.Setup(newPod(optional), (&objects{}).facts()); err != nil {
		t.Errorf("optional: %v", err)
	}
	for _, uid := range []string{"", "..", "a/b"} {
		if err := m.Teardown(types.UID(uid)); err == nil {
			t.Errorf("teardown of %q: got no error", uid)
		}
	}
}

// TestSubPath: a subPath shows a part of the volume, and no symlink that a
// container made leads out of it.
func TestSubPath(t *testing.T) {
	m := setup(t)
	host := t.TempDir()
	for _, dir := range []string{"vol/inside", "outside"} {
		if err := os.MkdirAll(filepath.Join(host, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"vol/good": "inside", "vol/absolute": filepath.Join(host, "outside"), "vol/relative": "../outside", "vol/inside/up": "../../outside"} {
		if err := os.Symlink(target, filepath.Join(host, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(host, "vol/inside/file"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := newPod(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: filepath.Join(host, "vol")}}})
	mount := func(sub string) (string, error) {
		c := &corev1.Container{Name: "app", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "data", SubPath: sub}}}
		mounts, err := m.Mounts(p, c, func(s string) string { return s })
		if err != nil {
			return "", err
		}
		if mounts[0].ContainerPath != "/data" {
			t.Errorf("container path: got %s", mounts[0].ContainerPath)
		}
		return mounts[0].HostPath, nil
	}
	for _, sub := range []string{"inside", "good"} {
		dir, err := mount(sub)
		if err != nil {
			t.Errorf("%s: %v", sub, err)
			continue
		}
		if got := read(t, filepath.Join(dir, "file")); got != "x" {
			t.Errorf("%s: got %q", sub, got)
		}
	}
	if file, err := mount("inside/file"); err != nil || read(t, file) != "x" {
		t.Errorf("a file: %v", err)
	}
	if dir, err := mount("made/on/demand"); err != nil {
		t.Errorf("a new directory: %v", err)
	} else if err := os.WriteFile(filepath.Join(dir, "f"), []byte("y"), 0o644); err != nil || read(t, filepath.Join(host, "vol/made/on/demand/f")) != "y" {
		t.Errorf("a new directory: %v", err)
	}
	for _, sub := range []string{"absolute", "relative", "inside/up", "..", "inside/../../outside", "absolute/new"} {
		if dir, err := mount(sub); err == nil {
			t.Errorf("%s leads out of the volume: %s", sub, dir)
		}
	}
}
