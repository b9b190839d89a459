package git_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"headway.dev/syncer/git"
	"headway.dev/syncer/internal/gittest"
)

// fed is what git prints of an input.
func fed(tb testing.TB, dir, input string, args ...string) string {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), "git", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// filesOf are the files that a tree lists, each of which can be read.
func filesOf(tb testing.TB, tree fs.FS) []string {
	tb.Helper()
	var list []string
	err := fs.WalkDir(tree, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		list = append(list, name)
		_, err = fs.ReadFile(tree, name)
		return err
	})
	if err != nil {
		tb.Error(err)
	}
	slices.Sort(list)
	return list
}

// What a source leaves out follows source-controller's rules, for a commit and
// for a directory alike.
func TestSourceIgnore(t *testing.T) {
	all := map[string]string{
		"a.yaml": "x", "logo.png": "x", ".sops.yaml": "x", ".gitignore": "x", ".github/workflow.yaml": "x",
		"apps/a.yaml": "x", "apps/b.md": "x", "apps/tests/t.yaml": "x", "apps/tests/deep/u.yaml": "x", "docs/d.yaml": "x", "docs/kept/k.yaml": "x",
	}
	for _, c := range []struct {
		name, spec string
		ignore     map[string]string
		want       string
	}{
		{"nothing is said", "", nil, "a.yaml apps/a.yaml apps/b.md apps/tests/deep/u.yaml apps/tests/t.yaml docs/d.yaml docs/kept/k.yaml"},
		{"comments say nothing", "# all\n\n", map[string]string{"": "# none\n"}, ".sourceignore a.yaml apps/a.yaml apps/b.md apps/tests/deep/u.yaml apps/tests/t.yaml docs/d.yaml docs/kept/k.yaml"},
		{
			"a file takes the place of the defaults", "",
			map[string]string{"": "docs/\n*.md\n"},
			".github/workflow.yaml .sops.yaml .sourceignore a.yaml apps/a.yaml apps/tests/deep/u.yaml apps/tests/t.yaml logo.png",
		},
		{
			"one in a directory is for what is below", "",
			map[string]string{"apps": "/tests\n/a.yaml\n"},
			".github/workflow.yaml .sops.yaml a.yaml apps/.sourceignore apps/b.md docs/d.yaml docs/kept/k.yaml logo.png",
		},
		{
			"the deeper one counts more", "",
			map[string]string{"": "*.yaml\n", "docs/kept": "!*.yaml\n"},
			".gitkeep .sourceignore apps/b.md docs/kept/.sourceignore docs/kept/k.yaml logo.png",
		},
		{
			"what is in a directory that is left out can be taken back", "",
			map[string]string{"": "/*\n!/docs/kept\n"},
			"docs/kept/k.yaml",
		},
		{"spec.ignore counts more", "/*\n!/apps/tests/t.yaml\n", map[string]string{"apps": "tests/\n"}, "apps/tests/t.yaml"},
		{
			"files are told from directories", "",
			map[string]string{"": "a.yaml/\nlogo.png\n.github\ndocs\n.sops.yaml\r\n"},
			".sourceignore a.yaml apps/a.yaml apps/b.md apps/tests/deep/u.yaml apps/tests/t.yaml",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			bare, work := gittest.Repository(t)
			files := map[string]string{}
			maps.Copy(files, all)
			if strings.Contains(c.want, ".gitkeep") {
				files[".gitkeep"] = "x"
			}
			for dir, lines := range c.ignore {
				files[strings.TrimPrefix(dir+"/.sourceignore", "/")] = lines
			}
			sha := gittest.Push(t, work, "first", files)
			tree, err := gittest.Open(t, bare).Tree(sha, c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(filesOf(t, tree), " "); got != c.want {
				t.Errorf("the commit yields\n%s, want\n%s", got, c.want)
			}
			if err := fstest.TestFS(tree, strings.Fields(c.want)...); err != nil {
				t.Error(err)
			}
			dir := os.DirFS(work)
			excluded, err := git.ReadExcluded(dir, c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(filesOf(t, excluded.From(dir)), " "); got != c.want {
				t.Errorf("the directory yields\n%s, want\n%s", got, c.want)
			}
			for name := range files {
				_, err := fs.Stat(tree, name)
				if _, inDir := fs.Stat(excluded.From(dir), name); (err == nil) != slices.Contains(strings.Fields(c.want), name) || (inDir == nil) != (err == nil) {
					t.Errorf("%s: %v in the commit, %v in the directory", name, err, inDir)
				}
			}
		})
	}
}

// A tree of a few objects that are used over and over, or with patterns without
// end, is refused at once.
func TestSourceIgnoreIsBounded(t *testing.T) {
	bare, work := gittest.Repository(t)
	sha := gittest.Push(t, work, "large", map[string]string{".sourceignore": strings.Repeat("some-file-of-a-name\n", 20_000)})
	if _, err := gittest.Open(t, bare).Tree(sha, ""); err == nil || !strings.Contains(err.Error(), ".sourceignore files of 400000 bytes") {
		t.Errorf("400,000 bytes of patterns: %v", err)
	}
	sha = gittest.Push(t, work, "many", map[string]string{".sourceignore": strings.Repeat("?a\n", 2001)})
	if _, err := gittest.Open(t, bare).Tree(sha, ""); err == nil || !strings.Contains(err.Error(), "patterns, more than 2000") {
		t.Errorf("2,001 patterns: %v", err)
	}
	if _, err := git.ReadExcluded(os.DirFS(work), ""); err == nil || !strings.Contains(err.Error(), "patterns, more than 2000") {
		t.Errorf("2,001 patterns in a directory: %v", err)
	}
	// One file of 30 MiB is in many directories, and would be read for each.
	huge := fed(t, bare, strings.Repeat("#", 30<<20), "hash-object", "-w", "--stdin")
	dir := fed(t, bare, fmt.Sprintf("100644 blob %s\t.sourceignore\n", huge), "mktree")
	var twenty strings.Builder
	for i := range 20 {
		fmt.Fprintf(&twenty, "040000 tree %s\td%d\n", dir, i)
	}
	sha = gittest.Git(t, bare, "commit-tree", "-m", "x", fed(t, bare, twenty.String(), "mktree"))
	if _, err := gittest.Open(t, bare).Tree(sha, ""); err == nil || !strings.Contains(err.Error(), "the tree has 20 .sourceignore files of 31457280 bytes") {
		t.Errorf("a file of 30 MiB in 20 directories: %v", err)
	}
	// Each level holds the one below ten times.
	blob := fed(t, bare, "x\n", "hash-object", "-w", "--stdin")
	below := fed(t, bare, fmt.Sprintf("100644 blob %s\t.sourceignore\n", blob), "mktree")
	for range 30 {
		var lines strings.Builder
		for i := range 10 {
			fmt.Fprintf(&lines, "040000 tree %s\td%d\n", below, i)
		}
		below = fed(t, bare, lines.String(), "mktree")
	}
	sha = gittest.Git(t, bare, "commit-tree", "-m", "x", below)
	if _, err := gittest.Open(t, bare).Tree(sha, ""); err == nil || !strings.Contains(err.Error(), "more than 1000 .sourceignore files") {
		t.Errorf("10^30 files: %v", err)
	}
}

// What patterns cost that may match any name is bounded for all names together,
// of a commit and of a directory.
func TestSourceIgnoreCostIsBounded(t *testing.T) {
	bare, _ := gittest.Repository(t)
	rules := fed(t, bare, strings.Repeat("[b-c]?\n", 1900), "hash-object", "-w", "--stdin")
	file := fed(t, bare, "x\n", "hash-object", "-w", "--stdin")
	var list strings.Builder
	files := fstest.MapFS{".sourceignore": {Data: []byte(strings.Repeat("[b-c]?\n", 1900))}}
	for i := range 5000 {
		name := fmt.Sprintf("a%d-%s", i, strings.Repeat("a", 800))
		fmt.Fprintf(&list, "100644 blob %s\t%s\n", file, name)
		files["all/"+name] = &fstest.MapFile{}
	}
	all := fed(t, bare, list.String(), "mktree")
	root := fed(t, bare, fmt.Sprintf("100644 blob %s\t.sourceignore\n040000 tree %s\tall\n", rules, all), "mktree")
	tree, err := gittest.Open(t, bare).Tree(gittest.Git(t, bare, "commit-tree", "-m", "x", root), "")
	if err != nil {
		t.Fatal(err)
	}
	excluded, err := git.ReadExcluded(files, "")
	if err != nil {
		t.Fatal(err)
	}
	for what, tree := range map[string]fs.FS{"commit": tree, "directory": excluded.From(files)} {
		if _, err := fs.Stat(tree, "all"); err != nil {
			t.Errorf("a few names of the %s: %v", what, err)
		}
		if _, err := fs.ReadDir(tree, "all"); err == nil || !strings.Contains(err.Error(), "too many names for the 1904 patterns") {
			t.Errorf("many names of the %s: %v", what, err)
		}
	}
}
