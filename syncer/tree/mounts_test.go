package tree

import (
	"io/fs"
	"testing"
	"testing/fstest"
)

func files(tb testing.TB, list map[string]string) Tree {
	tb.Helper()
	t, err := NewFiles(list)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func TestMounts(t *testing.T) {
	base := map[string]string{"a.yaml": "a", "dir/b.yaml": "b", "dir/deep/c.yaml": "c", "other/d.yaml": "d"}
	lib := files(t, map[string]string{"x.yaml": "x", "deploy/y.yaml": "y"})
	whole, err := NewMounts(files(t, base), []Mount{{At: "dir/lib", From: ".", Tree: lib}, {At: "new/place", From: "deploy", Tree: lib}})
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(whole, "a.yaml", "dir/b.yaml", "dir/deep/c.yaml", "other/d.yaml", "dir/lib/x.yaml", "dir/lib/deploy/y.yaml", "new/place/y.yaml"); err != nil {
		t.Error(err)
	}
	cut, err := NewMounts(nil, []Mount{{At: "dir/deep", From: "dir/deep", Tree: files(t, base)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(cut, "dir/deep/c.yaml"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"a.yaml", "dir/b.yaml", "other"} {
		if _, err := fs.Stat(cut, name); err == nil {
			t.Errorf("%s is there although it was cut off", name)
		}
	}
	hash := func(tr Tree, name string) string {
		t.Helper()
		sum, err := tr.Hash(name)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	changed, err := NewMounts(files(t, base), []Mount{{At: "dir/lib", From: ".", Tree: files(t, map[string]string{"x.yaml": "other"})}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".", "dir", "dir/lib"} {
		if hash(whole, name) == hash(changed, name) {
			t.Errorf("%s has the same hash with another content", name)
		}
	}
	if hash(whole, "dir/deep") != hash(changed, "dir/deep") {
		t.Error("dir/deep has another hash with the same content")
	}
	for what, m := range map[string]Mount{
		"out of the tree": {At: "../x", From: ".", Tree: lib}, "from outside": {At: "x", From: "../..", Tree: lib},
		"a file's place": {At: "a.yaml", From: ".", Tree: lib}, "a directory's": {At: "dir", From: ".", Tree: lib},
		"below a file": {At: "new", From: "x.yaml", Tree: lib}, "nowhere": {At: "new", From: "none", Tree: lib}, "the root": {At: ".", From: ".", Tree: lib},
	} {
		if _, err := NewMounts(files(t, base), []Mount{m}); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if _, err := NewMounts(files(t, base), []Mount{{At: "x", From: ".", Tree: lib}, {At: "x/y", From: ".", Tree: lib}}); err == nil {
		t.Error("two at one place: accepted")
	}
}
