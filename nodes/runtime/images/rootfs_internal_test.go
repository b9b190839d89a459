package images

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/nodes/runtime"
)

func TestReadImageFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/plain", "plain")
	write("usr/lib/passwd", "behind a link")
	link("/usr/lib/passwd", "etc/absolute")
	link("../../../../usr/lib/passwd", "etc/above")
	link("../nowhere", "etc/dangling")
	link("plain/x", "etc/below-a-file")
	for name, want := range map[string]string{
		"etc/plain": "plain", "etc/absolute": "behind a link", "etc/above": "behind a link",
		"etc/dangling": "", "etc/missing": "", "no/dir": "", "etc/below-a-file": "",
	} {
		if got, err := readImageFile(dir, name); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
	sparse, err := os.Create(filepath.Join(dir, "etc/sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer sparse.Close()
	if err := sparse.Truncate(10 << 30); err != nil {
		t.Fatal(err)
	}
	var config *runtime.ConfigError
	if _, err := readImageFile(dir, "etc/sparse"); !errors.As(err, &config) || !strings.Contains(err.Error(), "has 10737418240 bytes") {
		t.Errorf("a sparse file of 10 GiB: %v, want that it is too big", err)
	}
}
