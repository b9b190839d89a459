package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"headway.dev/nodes/pod"
)

// file is one file of a volume.
type file struct {
	data []byte
	mode fs.FileMode
}

// payload is the files of a volume by their path in it.
type payload map[string]file

// contents collects the files of a volume that is made from API objects.
func contents(p *corev1.Pod, v *corev1.Volume, facts pod.Facts) (payload, error) {
	out := payload{}
	switch {
	case v.ConfigMap != nil:
		s := v.ConfigMap
		return out, out.configMap(s.Name, s.Items, mode(s.DefaultMode), s.Optional, facts)
	case v.Secret != nil:
		s := v.Secret
		return out, out.secret(s.SecretName, s.Items, mode(s.DefaultMode), s.Optional, facts)
	case v.DownwardAPI != nil:
		return out, out.downward(p, v.DownwardAPI.Items, mode(v.DownwardAPI.DefaultMode), facts)
	}
	def := mode(v.Projected.DefaultMode)
	for _, s := range v.Projected.Sources {
		var err error
		switch {
		case s.ConfigMap != nil:
			err = out.configMap(s.ConfigMap.Name, s.ConfigMap.Items, def, s.ConfigMap.Optional, facts)
		case s.Secret != nil:
			err = out.secret(s.Secret.Name, s.Secret.Items, def, s.Secret.Optional, facts)
		case s.DownwardAPI != nil:
			err = out.downward(p, s.DownwardAPI.Items, def, facts)
		case s.ServiceAccountToken != nil:
			err = out.token(p, s.ServiceAccountToken, def, facts)
		default:
			err = errors.New("this projected source is not supported: use configMap, secret, downwardAPI or serviceAccountToken")
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// mode is a defaultMode; Kubernetes defaults it to 0644.
func mode(m *int32) fs.FileMode {
	if m == nil {
		return 0o644
	}
	return fs.FileMode(*m) & 0o777
}

func (out payload) configMap(name string, items []corev1.KeyToPath, def fs.FileMode, optional *bool, facts pod.Facts) error {
	cm, err := facts.ConfigMap(name)
	if err != nil {
		if optional != nil && *optional && apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	data := map[string][]byte{}
	for k, v := range cm.Data {
		data[k] = []byte(v)
	}
	maps.Copy(data, cm.BinaryData)
	return out.keys(data, items, def, optional, "configmap references non-existent config key: %s")
}

func (out payload) secret(name string, items []corev1.KeyToPath, def fs.FileMode, optional *bool, facts pod.Facts) error {
	secret, err := facts.Secret(name)
	if err != nil {
		if optional != nil && *optional && apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	return out.keys(secret.Data, items, def, optional, "references non-existent secret key: %s")
}

func (out payload) keys(data map[string][]byte, items []corev1.KeyToPath, def fs.FileMode, optional *bool, missing string) error {
	if len(items) == 0 {
		for k, v := range data {
			if err := out.put(k, file{v, def}); err != nil {
				return err
			}
		}
		return nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return fmt.Errorf(missing, item.Key)
		}
		f := file{value, def}
		if item.Mode != nil {
			f.mode = fs.FileMode(*item.Mode) & 0o777
		}
		if err := out.put(item.Path, f); err != nil {
			return err
		}
	}
	return nil
}

func (out payload) downward(p *corev1.Pod, items []corev1.DownwardAPIVolumeFile, def fs.FileMode, facts pod.Facts) error {
	for _, item := range items {
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = pod.FieldValue(p, item.FieldRef.FieldPath, facts)
		case item.ResourceFieldRef != nil:
			value, err = pod.ResourceValue(p, nil, item.ResourceFieldRef, facts)
		}
		if err != nil {
			return err
		}
		f := file{[]byte(value), def}
		if item.Mode != nil {
			f.mode = fs.FileMode(*item.Mode) & 0o777
		}
		if err := out.put(item.Path, f); err != nil {
			return err
		}
	}
	return nil
}

// defaultTokenLife is what the API fills in for expirationSeconds.
const defaultTokenLife = 60 * 60

// token adds a service-account token. Where a group owns the volume, nobody
// else reads it.
func (out payload) token(p *corev1.Pod, s *corev1.ServiceAccountTokenProjection, def fs.FileMode, facts pod.Facts) error {
	seconds := int64(defaultTokenLife)
	if s.ExpirationSeconds != nil {
		seconds = *s.ExpirationSeconds
	}
	value, err := facts.Token(s.Audience, seconds)
	if err != nil {
		return err
	}
	if fsGroup(p) != nil {
		def = 0o600
	}
	return out.put(s.Path, file{[]byte(value), def})
}

// put adds a file. The path comes from an API object: it must stay inside the
// volume and out of the names the swap uses.
func (out payload) put(name string, f file) error {
	clean := path.Clean(name)
	if name == "" || path.IsAbs(name) || clean == "." || strings.HasPrefix(clean, "..") || len(clean) > 4096 {
		return fmt.Errorf("invalid path %q: it must be relative and must not start with '..'", name)
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return fmt.Errorf("invalid path %q: it must not contain '..'", name)
	}
	out[clean] = f
	return nil
}

const dataLink = "..data"

// write makes dir show exactly these files. They are written into a new
// directory, and the one symlink that all names go through is then renamed over
// the old one: that swap is atomic, and a crash before it leaves the old files.
//
//	dir/key   → ..data/key
//	dir/..data → ..2026_01_02_15_04_05.123
func (out payload) write(dir string, group *int64) error {
	link := filepath.Join(dir, dataLink)
	old, err := os.Readlink(link)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read the current version: %w", err)
	}
	if old != "" && out.same(filepath.Join(dir, old), group) {
		return out.links(dir)
	}
	fresh, err := os.MkdirTemp(dir, time.Now().UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return fmt.Errorf("make the new version's directory: %w", err)
	}
	done := false
	defer func() {
		if !done {
			os.RemoveAll(fresh)
		}
	}()
	if err := os.Chmod(fresh, 0o755); err != nil {
		return fmt.Errorf("write the new version: %w", err)
	}
	if err := out.files(fresh, group); err != nil {
		return fmt.Errorf("write the new version: %w", err)
	}
	temp := filepath.Join(dir, "..data_tmp")
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove a leftover link: %w", err)
	}
	if err := os.Symlink(filepath.Base(fresh), temp); err != nil {
		return fmt.Errorf("link the new version: %w", err)
	}
	if err := os.Rename(temp, link); err != nil {
		return fmt.Errorf("swap to the new version: %w", err)
	}
	done = true
	if err := out.links(dir); err != nil {
		return err
	}
	return removeOthers(dir, filepath.Base(fresh))
}

func (out payload) files(dir string, group *int64) error {
	for _, name := range out.sorted() {
		f := out[name]
		target := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, f.data, f.mode); err != nil {
			return err
		}
		// WriteFile's mode goes through the umask.
		if err := os.Chmod(target, ownedMode(f.mode, group)); err != nil {
			return err
		}
		if group != nil {
			if err := os.Chown(target, -1, int(*group)); err != nil {
				return err
			}
		}
	}
	return nil
}

// ownedMode is a file's mode once a group owns it: the group reads it.
func ownedMode(m fs.FileMode, group *int64) fs.FileMode {
	if group == nil {
		return m
	}
	return m | 0o440
}

// errDiffers ends the comparison of same.
var errDiffers = errors.New("differs")

// same reports whether dir holds exactly these files already.
func (out payload) same(dir string, group *int64) bool {
	count := 0
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		want, ok := out[filepath.ToSlash(rel)]
		info, err := e.Info()
		if !ok || err != nil || info.Mode().Perm() != ownedMode(want.mode, group) || info.Size() != int64(len(want.data)) {
			return errDiffers
		}
		if have, err := os.ReadFile(name); err != nil || !bytes.Equal(have, want.data) {
			return errDiffers
		}
		count++
		return nil
	})
	return err == nil && count == len(out)
}

// links makes the visible names, one for each first path element, and removes
// those that have no file any more.
func (out payload) links(dir string) error {
	want := map[string]bool{}
	for name := range out {
		first, _, _ := strings.Cut(name, "/")
		want[first] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the volume: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") {
			continue
		}
		if want[e.Name()] {
			delete(want, e.Name())
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove a key that is gone: %w", err)
		}
	}
	for name := range want {
		if err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("link a new key: %w", err)
		}
	}
	return nil
}

// removeOthers removes the versions before this one, those of crashed writes
// included.
func removeOthers(dir, keep string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the volume: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), "..") && e.Name() != keep {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("remove an old version: %w", err)
			}
		}
	}
	return nil
}

func (out payload) sorted() []string {
	names := make([]string, 0, len(out))
	for name := range out {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
