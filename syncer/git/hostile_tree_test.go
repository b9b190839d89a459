package git_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/syncer/git"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/internal/gittest"
)

// crafted makes a bare repository whose main is a commit of the tree.
func crafted(tb testing.TB, tree func(bare string) string) (bare, sha string) {
	tb.Helper()
	bare = filepath.Join(tb.TempDir(), "repo.git")
	gittest.Git(tb, "", "init", "-q", "--bare", "-b", "main", bare)
	sha = gitserver.WriteObject(tb, bare, "commit", gitserver.CommitData(tree(bare), "crafted\n"))
	gitserver.SetRef(tb, bare, "refs/heads/main", sha)
	return bare, sha
}

// Trees that no checkout could have made are refused, in place and when they
// came over the network.
func TestHostileNames(t *testing.T) {
	file := func(name string) func(*testing.T, string) []byte {
		return func(t *testing.T, bare string) []byte {
			t.Helper()
			return gitserver.TreeEntry("100644", name, gitserver.WriteObject(t, bare, "blob", []byte("x")))
		}
	}
	twice := func(f func(*testing.T, string) []byte) func(*testing.T, string) []byte {
		return func(t *testing.T, bare string) []byte {
			t.Helper()
			return append(f(t, bare), f(t, bare)...)
		}
	}
	cut := func(f func(*testing.T, string) []byte) func(*testing.T, string) []byte {
		return func(t *testing.T, bare string) []byte {
			t.Helper()
			return f(t, bare)[:15]
		}
	}
	for name, c := range map[string]struct {
		entries func(*testing.T, string) []byte
		want    string
	}{
		"parent":       {file(".."), `invalid file name ".."`},
		"itself":       {file("."), `invalid file name "."`},
		"empty":        {file(""), "read tree"},
		"with a slash": {file("a/../../b"), `invalid file name "a/../../b"`},
		"absolute":     {file("/etc/passwd"), `invalid file name "/etc/passwd"`},
		".git":         {file(".git"), `invalid file name ".git"`},
		".GIT":         {file(".GIT"), `invalid file name ".GIT"`},
		"not UTF-8":    {file("a\xff\xfe.yaml"), `invalid file name "a??.yaml"`},
		"twice":        {twice(file("a")), `"a" is in it twice`},
		"cut short":    {cut(file("a")), "read tree"},
	} {
		t.Run(name, func(t *testing.T) {
			bare, sha := crafted(t, func(bare string) string {
				return gitserver.WriteObject(t, bare, "tree", c.entries(t, bare))
			})
			tree, err := gittest.Open(t, bare).Tree(sha, "")
			if err != nil {
				t.Fatal(err)
			}
			_, err = fs.ReadDir(tree, ".")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("ReadDir = %v, want an error with %q", err, c.want)
			}
			for _, path := range []string{"..", "../x", ".git", "/etc/passwd", "a/../../b"} {
				if data, err := fs.ReadFile(tree, path); err == nil {
					t.Errorf("ReadFile(%q) = %q", path, data)
				}
			}
		})
	}
}

// Names that differ in case are two files, and escape sequences stay out of
// what is shown.
func TestNamesAreBytes(t *testing.T) {
	bare, work := gittest.Repository(t)
	sha := gittest.Push(t, work, "first", map[string]string{"A.yaml": "upper", "a.yaml": "lower", "Dir/x": "1", "dir/x": "2"})
	tree, err := gittest.Open(t, bare).Tree(sha, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"A.yaml": "upper", "a.yaml": "lower", "Dir/x": "1", "dir/x": "2"} {
		if got, err := fs.ReadFile(tree, name); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v, want %q", name, got, err, want)
		}
	}
	gittest.Git(t, work, "commit", "-q", "--allow-empty", "--author", "Eve \x1b[2J <eve\x07@example.com>", "-m", "bell \x07 and \x1b]0;title\x07\n\nbody \x1b[31m red\n")
	gittest.Git(t, work, "push", "-q", "origin", "HEAD:main")
	c, err := gittest.Open(t, bare).Commit(gittest.Git(t, work, "rev-parse", "HEAD"))
	if all := fmt.Sprint(c); err != nil || strings.ContainsAny(all, "\x1b\x07") || !strings.Contains(all, "red") {
		t.Errorf("the commit reads %q, %v", all, err)
	}
}

// No symbolic link leads anywhere, wherever it points, and no byte of a file
// outside of the tree is read.
func TestSymbolicLinks(t *testing.T) {
	const canary = "canary-7f3a"
	outside := filepath.Join(t.TempDir(), "outside")
	if err := errors.Join(os.MkdirAll(outside, 0o755), os.WriteFile(filepath.Join(outside, "secret"), []byte(canary), 0o600)); err != nil {
		t.Fatal(err)
	}
	bare, work := gittest.Repository(t)
	for name, target := range map[string]string{
		"absolute": filepath.Join(outside, "secret"), "absolute-dir": outside, "parents": "../../../../../../../.." + outside + "/secret",
		"chain1": "chain2", "chain2": "chain3", "chain3": filepath.Join(outside, "secret"), "loop": "loop",
		"git": ".git/config", "gitdir": ".git", "inside": "a.yaml", "proc": "/proc/self/environ", "root": "/",
	} {
		if err := os.Symlink(target, filepath.Join(work, name)); err != nil {
			t.Fatal(err)
		}
	}
	sha := gittest.Push(t, work, "links", map[string]string{"a.yaml": "a"})
	tree, err := gittest.Open(t, bare).Tree(sha, "")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, rerr := fs.ReadFile(tree, name)
		if d.Type() == fs.ModeSymlink {
			seen++
			if rerr == nil {
				t.Errorf("%s was followed: %q", name, data)
			}
			if f, err := tree.Open(name); err == nil {
				_ = f.Close()
				t.Errorf("%s was opened", name)
			}
		}
		if bytes.Contains(data, []byte(canary)) {
			t.Errorf("%s holds the canary", name)
		}
		return nil
	})
	if err != nil || seen != 12 {
		t.Errorf("walked %d links, %v, want 12", seen, err)
	}
	for _, name := range []string{"absolute-dir/secret", "gitdir/config", "root/etc/passwd", "chain1/x", "loop/loop"} {
		if data, err := fs.ReadFile(tree, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("ReadFile(%s) = %q, %v, want not exist", name, data, err)
		}
		if _, err := fs.ReadDir(tree, filepath.Dir(name)); err == nil {
			t.Errorf("ReadDir(%s) goes through a link", filepath.Dir(name))
		}
	}
}

// A submodule is left out, whatever its name and URL would do to a program.
func TestHostileSubmodules(t *testing.T) {
	blob := []byte("x")
	modules := "[submodule \"--upload-pack=touch /tmp/x\"]\n\tpath = sub\n\turl = ext::sh -c id\n[submodule \"../../x\"]\n\tpath = --upload-pack\n\turl = -u./x\n"
	bare, sha := crafted(t, func(bare string) string {
		entries := gitserver.TreeEntry("160000", "--upload-pack=touch", strings.Repeat("1", 40))
		entries = append(entries, gitserver.TreeEntry("100644", ".gitmodules", gitserver.WriteObject(t, bare, "blob", []byte(modules)))...)
		entries = append(entries, gitserver.TreeEntry("100644", "a.yaml", gitserver.WriteObject(t, bare, "blob", blob))...)
		return gitserver.WriteObject(t, bare, "tree", append(entries, gitserver.TreeEntry("160000", "sub", strings.Repeat("2", 40))...))
	})
	tree, err := gittest.Open(t, bare).Tree(sha, "")
	if err != nil {
		t.Fatal(err)
	}
	list, err := fs.ReadDir(tree, ".")
	if err != nil || len(list) != 1 || list[0].Name() != "a.yaml" {
		t.Errorf("ReadDir = %v, %v", list, err)
	}
	if _, err := fs.Stat(tree, "sub"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of a submodule: %v", err)
	}
}

// What is too much is refused, in little time and memory.
func TestHostileSizes(t *testing.T) {
	walk := func(tree *git.Tree) error {
		return fs.WalkDir(tree, ".", func(_ string, _ fs.DirEntry, err error) error { return err })
	}
	blobOf := func(bare string) string { return gitserver.WriteObject(t, bare, "blob", []byte("x")) }
	for name, c := range map[string]struct {
		tree func(bare string) string
		want string
	}{
		"a million files in a tree": {func(bare string) string {
			blob := blobOf(bare)
			var all bytes.Buffer
			for i := range 1_000_000 {
				all.Write(gitserver.TreeEntry("100644", fmt.Sprintf("f%07d", i), blob))
			}
			return gitserver.WriteObject(t, bare, "tree", all.Bytes())
		}, "larger than the limit"},
		"ten billion files of few objects": {func(bare string) string {
			sub, mode := blobOf(bare), "100644"
			for range 5 {
				var all []byte
				for i := range 100 {
					all = append(all, gitserver.TreeEntry(mode, fmt.Sprintf("f%02d", i), sub)...)
				}
				sub, mode = gitserver.WriteObject(t, bare, "tree", all), "40000"
			}
			return sub
		}, "more than 500000 files"},
		"deep": {func(bare string) string {
			sub := gitserver.WriteObject(t, bare, "tree", gitserver.TreeEntry("100644", "f", blobOf(bare)))
			for range 150 {
				sub = gitserver.WriteObject(t, bare, "tree", gitserver.TreeEntry("40000", "d", sub))
			}
			return sub
		}, "nested more than 100 deep"},
	} {
		t.Run(name, func(t *testing.T) {
			bare, sha := crafted(t, c.tree)
			tree, err := gittest.Open(t, bare).Tree(sha, "")
			if err == nil {
				err = walk(tree)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("walk = %v, want an error with %q", err, c.want)
			}
		})
	}
	bare, work := gittest.Repository(t)
	gittest.Git(t, bare, "config", "core.compression", "1")
	big := filepath.Join(work, "big.yaml")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, 40<<20); err != nil {
		t.Fatal(err)
	}
	sha := gittest.Push(t, work, "big", map[string]string{"small.yaml": "s"})
	m := gittest.Mirror(t, gittest.Serve(t, filepath.Dir(bare), "", "").URL+"/repo.git")
	gittest.Fetch(t, m, git.Ref{Branch: "main"}, nil)
	for what, r := range map[string]*git.Repository{"local": gittest.Open(t, bare), "mirror": m} {
		tree, err := r.Tree(sha, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fs.ReadFile(tree, "big.yaml"); err == nil || !strings.Contains(err.Error(), "blob of 41943040 is larger than the limit of 33554432") {
			t.Errorf("%s: a large file: %v", what, err)
		}
		if info, err := fs.Stat(tree, "big.yaml"); err != nil || info.Size() != 40<<20 {
			t.Errorf("%s: Stat = %v, %v", what, info, err)
		}
		if data, err := fs.ReadFile(tree, "small.yaml"); err != nil || string(data) != "s" {
			t.Errorf("%s: the file beside it: %q, %v", what, data, err)
		}
	}
	// A message of many megabytes.
	huge := gitserver.WriteObject(t, bare, "commit", gitserver.CommitData(gittest.Git(t, bare, "rev-parse", "main^{tree}"), strings.Repeat("x", 5<<20)))
	if _, err := gittest.Open(t, bare).Commit(huge); err == nil || !strings.Contains(err.Error(), "is larger than the limit of 4194304") {
		t.Errorf("a commit of 5 MiB: %v", err)
	}
}

// Whatever bytes a tree has, reading it ends, and lists only names that are
// within it.
func FuzzTree(f *testing.F) {
	f.Add(gitserver.TreeEntry("100644", "a", strings.Repeat("1", 40)))
	f.Add(gitserver.TreeEntry("40000", "..", strings.Repeat("1", 40)))
	f.Add([]byte("100644 a"))
	bare := filepath.Join(f.TempDir(), "repo.git")
	gittest.Git(f, "", "init", "-q", "--bare", bare)
	r := gittest.Open(f, bare)
	f.Fuzz(func(t *testing.T, data []byte) {
		sha := gitserver.WriteObject(t, bare, "commit", gitserver.CommitData(gitserver.WriteObject(t, bare, "tree", data), "fuzz"))
		tree, err := r.Tree(sha, "")
		if err != nil {
			t.Fatal(err)
		}
		list, err := fs.ReadDir(tree, ".")
		if err != nil {
			return
		}
		for _, e := range list {
			if !fs.ValidPath(e.Name()) || strings.ContainsAny(e.Name(), "/\x00") || e.Name() == "." || e.Name() == ".." {
				t.Errorf("lists %q", e.Name())
			}
		}
	})
}
