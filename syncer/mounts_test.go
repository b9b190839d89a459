package syncer

import (
	"io/fs"
	"testing"
	"testing/fstest"
)

func files(tb testing.TB, list map[string]string) tree {
	tb.Helper()
	t, err := newFileTree(list)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func TestMounts(t *testing.T) {
	base := map[string]string{"a.yaml": "a", "dir/b.yaml": "b", "dir/deep/c.yaml": "c", "other/d.yaml": "d"}
	lib := files(t, map[string]string{"x.yaml": "x", "deploy/y.yaml": "y"})
	whole, err := newMounts(files(t, base), []mount{{at: "dir/lib", from: ".", tree: lib}, {at: "new/place", from: "deploy", tree: lib}})
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(whole, "a.yaml", "dir/b.yaml", "dir/deep/c.yaml", "other/d.yaml", "dir/lib/x.yaml", "dir/lib/deploy/y.yaml", "new/place/y.yaml"); err != nil {
		t.Error(err)
	}
	cut, err := newMounts(nil, []mount{{at: "dir/deep", from: "dir/deep", tree: files(t, base)}})
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
	hash := func(tr tree, name string) string {
		t.Helper()
		sum, err := tr.Hash(name)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	changed, err := newMounts(files(t, base), []mount{{at: "dir/lib", from: ".", tree: files(t, map[string]string{"x.yaml": "other"})}})
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
	for what, m := range map[string]mount{
		"out of the tree": {at: "../x", from: ".", tree: lib}, "from outside": {at: "x", from: "../..", tree: lib},
		"a file's place": {at: "a.yaml", from: ".", tree: lib}, "a directory's": {at: "dir", from: ".", tree: lib},
		"below a file": {at: "new", from: "x.yaml", tree: lib}, "nowhere": {at: "new", from: "none", tree: lib}, "the root": {at: ".", from: ".", tree: lib},
	} {
		if _, err := newMounts(files(t, base), []mount{m}); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if _, err := newMounts(files(t, base), []mount{{at: "x", from: ".", tree: lib}, {at: "x/y", from: ".", tree: lib}}); err == nil {
		t.Error("two at one place: accepted")
	}
}
