package git_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"headway.dev/syncer/git"
	"headway.dev/syncer/internal/gittest"
)

// fetchURL names, in the environment, what this program is to fetch instead
// of running tests, so that its memory is that of a fetch alone.
const fetchURL = "HEADWAY_TEST_FETCH"

func TestMain(m *testing.M) {
	if url := os.Getenv(fetchURL); url != "" {
		if err := json.NewEncoder(os.Stdout).Encode(fetchAlone(url, os.Getenv(fetchURL+"_DIR"))); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// fetched is what a fetch in a process of its own took.
type fetched struct {
	Error          string
	BeforeMB       float64 // resident before the fetch
	PeakMB         float64 // at most
	CPU            float64 // seconds
	Files, Commits int
}

func fetchAlone(url, dir string) (f fetched) {
	runtime.GC()
	f.BeforeMB = memory("VmRSS")
	if err := f.fetch(url, dir); err != nil {
		f.Error = err.Error()
	}
	f.PeakMB = memory("VmHWM")
	used, err := gittest.ProcessorTime()
	if err != nil {
		return fetched{Error: err.Error()}
	}
	f.CPU = used.Seconds()
	return f
}

func (f *fetched) fetch(url, dir string) error {
	r, err := git.Mirror(dir, url, git.MirrorOptions{})
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	head, err := r.Fetch(context.Background(), git.Ref{Branch: "main"}, nil)
	if err != nil {
		return err
	}
	tree, err := r.Tree(head.Commit, "")
	if err != nil {
		return err
	}
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f.Files++
		_, err = fs.ReadFile(tree, name)
		return err
	})
	if err != nil {
		return err
	}
	log, err := r.Log(head.Commit, 1<<20)
	f.Commits = len(log)
	return err
}

// memory reads a line of /proc/self/status, in MB.
func memory(name string) float64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			var kb float64
			if _, err := fmt.Sscan(rest, &kb); err != nil {
				panic(err)
			}
			return kb / 1024
		}
	}
	panic("no " + name)
}

// inChild fetches in another process.
func inChild(tb testing.TB, url string) fetched {
	tb.Helper()
	f := tryInChild(tb, url, tb.TempDir())
	if f.Error != "" {
		tb.Fatalf("fetch: %s", f.Error)
	}
	return f
}

// tryInChild fetches into a mirror in another process, which may fail.
func tryInChild(tb testing.TB, url, dir string) fetched {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), fetchURL+"="+url, fetchURL+"_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatal(err)
	}
	var f fetched
	if err := json.Unmarshal(out, &f); err != nil {
		tb.Fatal(err)
	}
	return f
}

// incompressible makes a repository of commits with four files of random
// bytes each, size bytes altogether, and a text that grows.
func incompressible(tb testing.TB, size int) (bare string, commits int) {
	tb.Helper()
	const file = 64 << 10
	bare = filepath.Join(tb.TempDir(), "repo.git")
	gittest.Git(tb, "", "init", "-q", "--bare", "-b", "main", bare)
	for _, key := range []string{"core.compression", "pack.compression", "pack.window"} {
		gittest.Git(tb, bare, "config", key, "0")
	}
	cmd := exec.CommandContext(tb.Context(), "git", "fast-import", "--quiet")
	cmd.Dir = bare
	pipe, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	in := bufio.NewWriterSize(pipe, 1<<20)
	random := rand.NewChaCha8([32]byte{1})
	noise, text := make([]byte, file), ""
	for ; commits*4*file < size; commits++ {
		_, _ = fmt.Fprintf(in, "commit refs/heads/main\ncommitter Ada <ada@example.com> %d +0000\ndata 4\nmore\n", 1700000000+commits)
		for i := range 4 {
			_, _ = random.Read(noise)
			_, _ = fmt.Fprintf(in, "M 644 inline data/%d\ndata %d\n", (commits+i*7)%100, file)
			_, _ = in.Write(noise)
			_, _ = in.WriteString("\n")
		}
		text += fmt.Sprintf("line %d\n", commits)
		_, _ = fmt.Fprintf(in, "M 644 inline text\ndata %d\n%s\n", len(text), text)
	}
	if err := in.Flush(); err != nil {
		tb.Fatal(err)
	}
	_ = pipe.Close()
	if err := cmd.Wait(); err != nil {
		tb.Fatal(err)
	}
	return bare, commits
}

// BenchmarkFetchGigabyteHistory measures the first fetch, over HTTP, of a
// repository with 1 GiB of history that does not compress, in a process of its
// own: how much memory it takes more, and CPU.
func BenchmarkFetchGigabyteHistory(b *testing.B) {
	bare, commits := incompressible(b, 1<<30)
	srv := gittest.Serve(b, filepath.Dir(bare), "", "")
	for b.Loop() {
		f := inChild(b, srv.URL+"/repo.git")
		if f.Commits != commits || f.Files != 101 {
			b.Fatalf("fetched %d commits and %d files, want %d and 101", f.Commits, f.Files, commits)
		}
		b.ReportMetric(f.PeakMB-f.BeforeMB, "extra-RSS-MB")
		b.ReportMetric(f.PeakMB, "peak-RSS-MB")
		b.ReportMetric(f.CPU, "cpu-s/op")
	}
}

// A fetch takes the same memory, however much it brings.
func TestFetchMemory(t *testing.T) {
	bare, _ := incompressible(t, 24<<20)
	// In its past are two versions of a large file, one as a delta on
	// the other.
	large := make([]byte, 48<<20)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(large[:1<<20])
	work := filepath.Join(t.TempDir(), "work")
	gittest.Git(t, "", "clone", "-q", bare, work)
	for i := range 2 {
		large[i*1000] ^= 1
		if err := os.WriteFile(filepath.Join(work, "large"), large, 0o600); err != nil {
			t.Fatal(err)
		}
		gittest.Git(t, work, "add", "-A")
		gittest.Git(t, work, "commit", "-q", "-m", "large")
	}
	gittest.Git(t, work, "rm", "-q", "large")
	gittest.Git(t, work, "commit", "-q", "-m", "no more")
	gittest.Git(t, work, "push", "-q", "origin", "HEAD:main")
	gittest.Git(t, bare, "config", "pack.window", "2")
	gittest.Git(t, bare, "repack", "-q", "-ad")
	if f := inChild(t, gittest.Serve(t, filepath.Dir(bare), "", "").URL+"/repo.git"); f.PeakMB-f.BeforeMB > 80 {
		t.Errorf("the fetch took %.0f MB more, want less than 80", f.PeakMB-f.BeforeMB)
	}
}

// tenThousand makes a repository of 10,000 manifests in 100 directories, and
// returns how to commit one changed line.
func tenThousand(tb testing.TB) (bare string, change func()) {
	tb.Helper()
	bare = filepath.Join(tb.TempDir(), "repo.git")
	gittest.Git(tb, "", "init", "-q", "--bare", "-b", "main", bare)
	n := 0
	commit := func(files func(in *strings.Builder)) {
		var in strings.Builder
		n++
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter Ada <ada@example.com> %d +0000\ndata 2\nhi\n", 1700000000+n)
		if n > 1 {
			in.WriteString("from refs/heads/main^0\n")
		}
		files(&in)
		cmd := exec.CommandContext(context.Background(), "git", "-c", "fastimport.unpackLimit=100", "fast-import", "--quiet")
		cmd.Dir, cmd.Stdin = bare, strings.NewReader(in.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			tb.Fatalf("%v\n%s", err, out)
		}
	}
	file := func(in *strings.Builder, i int, value string) {
		text := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c%d\ndata:\n  key: %s\n", i, value)
		fmt.Fprintf(in, "M 644 inline apps/%02d/c%04d.yaml\ndata %d\n%s\n", i%100, i, len(text), text)
	}
	commit(func(in *strings.Builder) {
		for i := range 10_000 {
			file(in, i, "one")
		}
	})
	gittest.Git(tb, bare, "repack", "-q", "-ad")
	return bare, func() { commit(func(in *strings.Builder) { file(in, 4711, fmt.Sprint("v", n)) }) }
}

// BenchmarkFetchOneLine measures what Git's part of following a commit takes,
// of one changed line among 10,000 files: references, objects, and the names
// and hashes of all files.
func BenchmarkFetchOneLine(b *testing.B) {
	bare, change := tenThousand(b)
	for name, open := range map[string]func() *git.Repository{
		"local": func() *git.Repository { return gittest.Open(b, bare) },
		"http": func() *git.Repository {
			return gittest.Mirror(b, gittest.Serve(b, filepath.Dir(bare), "", "").URL+"/repo.git")
		},
	} {
		b.Run(name, func(b *testing.B) {
			r := open()
			follow := func() {
				h, err := r.Fetch(b.Context(), git.Ref{Branch: "main"}, nil)
				if err != nil {
					b.Fatal(err)
				}
				tree, err := r.Tree(h.Commit, "")
				if err != nil {
					b.Fatal(err)
				}
				err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
					if err == nil && !d.IsDir() {
						_, err = tree.Hash(name)
					}
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			follow()
			for b.Loop() {
				b.StopTimer()
				change()
				b.StartTimer()
				follow()
			}
		})
	}
}
