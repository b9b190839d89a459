package history_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/internal/gittest"
)

// importHistory feeds git fast-import.
func importHistory(tb testing.TB, stream []byte) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "repo.git")
	for _, args := range [][]string{{"init", "-q", "--bare", "-b", "main", dir}, {"-C", dir, "fast-import", "--quiet"}} {
		cmd := exec.CommandContext(tb.Context(), "git", args...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
		cmd.Stdin = bytes.NewReader(stream)
		if out, err := cmd.CombinedOutput(); err != nil {
			tb.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return dir
}

// graph is a random history, of one file that lines come into and go from, with
// branches that merge.
type graph struct {
	bytes.Buffer
	rnd   *rand.Rand
	marks int
	lines int
	files map[int][]string // by mark
}

func (h *graph) commit(parents []int, content []string, other bool) int {
	h.marks++
	fmt.Fprintf(h, "commit refs/heads/main\nmark :%d\nauthor A%d <a@example.com> %d +0000\ncommitter C <c@example.com> %d +0000\ndata 2\nm\n",
		h.marks, h.marks%7, 1_700_000_000+h.marks*60, 1_700_000_000+h.marks*60)
	for i, p := range parents {
		fmt.Fprintf(h, "%s :%d\n", []string{"from", "merge"}[min(i, 1)], p)
	}
	text := strings.Join(content, "\n") + "\n"
	fmt.Fprintf(h, "M 100644 inline dir/sub/file.yaml\ndata %d\n%s\n", len(text), text)
	if other {
		fmt.Fprintf(h, "M 100644 inline dir/other.yaml\ndata 8\n%08d\n", h.marks)
	}
	h.files[h.marks] = content
	return h.marks
}

// edit changes some lines; each new one is unlike all others, so that there is
// one shortest difference only.
func (h *graph) edit(content []string) []string {
	out := slices.Clone(content)
	for range 1 + h.rnd.IntN(3) {
		h.lines++
		text := fmt.Sprintf("line: %d", h.lines)
		at := h.rnd.IntN(len(out) + 1)
		switch {
		case h.rnd.IntN(3) == 0 && at < len(out) && len(out) > 3:
			out = slices.Delete(out, at, at+1)
		case h.rnd.IntN(2) == 0 && at < len(out):
			out[at] = text
		default:
			out = slices.Insert(out, at, text)
		}
	}
	return out
}

// merge takes the lines of both sides that a three-way merge would: here those
// of the first, and some that only the second has, at the end.
func (h *graph) merge(a, b []string) []string {
	out := slices.Clone(a)
	for _, l := range b {
		if !slices.Contains(a, l) && h.rnd.IntN(2) == 0 {
			out = append(out, l)
		}
	}
	return out
}

func TestBlameIsThatOfGit(t *testing.T) {
	for seed := range uint64(6) {
		h := &graph{rnd: rand.New(rand.NewPCG(seed, 1)), files: map[int][]string{}}
		heads := []int{h.commit(nil, []string{"a: 1", "b: 2", "c: 3", "d: 4"}, true)}
		for range 60 {
			i := h.rnd.IntN(len(heads))
			switch p := heads[i]; {
			case h.rnd.IntN(6) == 0 && len(heads) < 4:
				heads = append(heads, h.commit([]int{p}, h.edit(h.files[p]), false))
			case h.rnd.IntN(5) == 0 && len(heads) > 1:
				j := (i + 1) % len(heads)
				merged := h.merge(h.files[p], h.files[heads[j]])
				if h.rnd.IntN(3) == 0 {
					merged = h.files[heads[j]] // as one side has it
				}
				heads[i] = h.commit([]int{p, heads[j]}, merged, false)
			case h.rnd.IntN(3) == 0:
				heads[i] = h.commit([]int{p}, h.files[p], true) // touches another file
			default:
				heads[i] = h.commit([]int{p}, h.edit(h.files[p]), true)
			}
		}
		last := heads[0]
		for _, p := range heads[1:] {
			last = h.commit([]int{last, p}, h.merge(h.files[last], h.files[p]), false)
		}
		dir := importHistory(t, h.Bytes())
		repo, err := git.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		// Older first: the second answer builds on the first.
		for _, rev := range []string{"main~5", "main"} {
			sha := runGit(t, dir, "rev-parse", rev)
			got, err := history.Blame(t.Context(), repo, sha, "dir/sub/file.yaml")
			if err != nil {
				t.Fatal(err)
			}
			want := blameOfGit(t, dir, sha, "dir/sub/file.yaml")
			if len(got) != len(want) {
				t.Fatalf("seed %d, %s: %d lines, want %d", seed, rev, len(got), len(want))
			}
			for i := range want {
				if got[i].SHA != want[i] {
					t.Errorf("seed %d, %s, line %d: %s, want %s", seed, rev, i+1, got[i].SHA, want[i])
				}
			}
		}
		if err := repo.Close(); err != nil {
			t.Error(err)
		}
	}
}

func runGit(tb testing.TB, dir string, args ...string) string {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), "git", append([]string{"-C", dir}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("git %v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// blameOfGit is what the git program says, by line.
func blameOfGit(tb testing.TB, dir, rev, file string) []string {
	tb.Helper()
	var out []string
	for line := range strings.Lines(runGit(tb, dir, "-c", "diff.algorithm=minimal", "blame", "-p", rev, "--", file)) {
		if sha, _, ok := strings.Cut(line, " "); ok && len(sha) == 40 && !strings.HasPrefix(line, "\t") {
			out = append(out, sha)
		}
	}
	return out
}

func TestBlameOfNoFile(t *testing.T) {
	h := &graph{files: map[int][]string{}}
	h.commit(nil, []string{"a"}, true)
	dir := importHistory(t, h.Bytes())
	repo, err := git.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = repo.Close() }()
	for _, file := range []string{"nowhere.yaml", "dir", "dir/sub", "dir/other.yaml/x", ""} {
		if _, err := history.Blame(t.Context(), repo, runGit(t, dir, "rev-parse", "main"), file); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("blame of %q: %v, want that there is no such file", file, err)
		}
	}
}

// One file in a history of 5,000 commits, 50 of which touch it; the others
// touch its neighbours.
func BenchmarkBlame5000Commits(b *testing.B) {
	h := &graph{rnd: rand.New(rand.NewPCG(1, 2)), files: map[int][]string{}}
	content := []string{"a: 1"}
	for i := range 40 {
		content = append(content, fmt.Sprintf("k%d: 1", i))
	}
	at := h.commit(nil, content, true)
	for i := range 4999 {
		next := h.files[at]
		if i%100 == 0 {
			next = h.edit(next)
		}
		at = h.commit([]int{at}, next, true)
	}
	dir := importHistory(b, h.Bytes())
	sha := runGit(b, dir, "rev-parse", "main")
	b.ReportAllocs()
	before := processorTime(b)
	for b.Loop() {
		// A new one each time, which knows no answer yet.
		repo, err := git.Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		lines, err := history.Blame(b.Context(), repo, sha, "dir/sub/file.yaml")
		if err != nil || len(lines) < 40 {
			b.Fatalf("%d lines, %v", len(lines), err)
		}
		if err := repo.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((processorTime(b)-before).Seconds()/float64(b.N), "cpu-s/op")
}

// Where history was not fetched, the oldest commit there is has set what is
// left; a damaged repository is an error instead of a wrong answer.
func TestBlameAtTheEndOfHistory(t *testing.T) {
	h := &graph{rnd: rand.New(rand.NewPCG(3, 3)), files: map[int][]string{}}
	at := h.commit(nil, []string{"a: 1", "b: 2", "c: 3"}, true)
	for range 6 {
		at = h.commit([]int{at}, h.edit(h.files[at]), true)
	}
	whole := importHistory(t, h.Bytes())
	dir := filepath.Join(t.TempDir(), "shallow.git")
	runGit(t, whole, "-c", "protocol.file.allow=always", "clone", "-q", "--bare", "--depth", "3", "file://"+whole, dir)
	repo, err := git.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = repo.Close() }()
	sha, oldest := runGit(t, dir, "rev-parse", "main"), runGit(t, dir, "rev-parse", "main~2")
	got, err := history.Blame(t.Context(), repo, sha, "dir/sub/file.yaml")
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for i, want := range blameOfGit(t, dir, sha, "dir/sub/file.yaml") {
		if got[i].SHA != want {
			t.Errorf("line %d: %s, want %s", i+1, got[i].SHA, want)
		}
		if want == oldest {
			left++
		}
	}
	if left == 0 {
		t.Error("no line is of the oldest commit: the test tests nothing")
	}
	// The same without the mark that says so.
	if err := os.Remove(filepath.Join(dir, "shallow")); err != nil {
		t.Fatal(err)
	}
	damaged, err := git.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = damaged.Close() }()
	if _, err := history.Blame(t.Context(), damaged, sha, "dir/sub/file.yaml"); err == nil {
		t.Error("blame of a history with a commit missing has an answer, want an error")
	}
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	used, err := gittest.ProcessorTime()
	if err != nil {
		b.Fatal(err)
	}
	return used
}
