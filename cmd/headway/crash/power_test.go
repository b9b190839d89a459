package crash_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// disk follows what a power cut would leave below a directory: content that was
// flushed since it was written, and names whose directory was flushed since they
// were given. What was there from the beginning stays.
type disk struct {
	dir string
	// content and names are the files whose content, and the paths whose entry in
	// their directory, a power cut would take.
	content, names map[string]bool
}

// see takes note of a call that is about to be made.
func (d *disk) see(call notification) {
	args := call.data.args
	switch call.data.number {
	case unix.SYS_OPENAT:
		if path := d.path(call, args[0], args[1]); path != "" && missing(path) {
			d.content[path], d.names[path] = true, true
		} else if path != "" && args[2]&unix.O_TRUNC != 0 {
			d.content[path] = true
		}
	case unix.SYS_MKDIRAT:
		if path := d.path(call, args[0], args[1]); path != "" && missing(path) {
			d.names[path] = true
		}
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT:
		from, to := d.path(call, args[0], args[1]), d.path(call, args[2], args[3])
		if from == "" || to == "" {
			return
		}
		d.content[to], d.names[to] = d.content[from], true
		if call.data.number != unix.SYS_LINKAT {
			delete(d.content, from)
			delete(d.names, from)
		}
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		path := d.open(call)
		delete(d.content, path)
		for name := range d.names {
			if filepath.Dir(name) == path {
				delete(d.names, name)
			}
		}
	default:
		if _, writes := onDescriptor[call.data.number]; writes {
			if path := d.open(call); path != "" {
				d.content[path] = true
			}
		}
	}
}

// path reads a path that a call is given, relative to a directory; "" if it is
// not below dir.
func (d *disk) path(call notification, base, pointer uint64) string {
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", call.pid))
	if err != nil {
		return ""
	}
	defer memory.Close()
	text := make([]byte, 512)
	n, _ := memory.ReadAt(text, int64(pointer)) // what is readable of it
	name, _, _ := bytes.Cut(text[:n], []byte{0})
	path := string(name)
	if !filepath.IsAbs(path) {
		at := fmt.Sprintf("/proc/%d/cwd", call.pid)
		if int32(base) != unix.AT_FDCWD {
			at = fmt.Sprintf("/proc/%d/fd/%d", call.pid, base)
		}
		dir, err := os.Readlink(at)
		if err != nil {
			return ""
		}
		path = filepath.Join(dir, path)
	}
	if path = filepath.Clean(path); !strings.HasPrefix(path, d.dir+"/") {
		return ""
	}
	return path
}

// open is the file of a call's first argument; "" if it is not in dir.
func (d *disk) open(call notification) string {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", call.pid, call.data.args[0]))
	if err != nil || path != d.dir && !strings.HasPrefix(path, d.dir+"/") {
		return ""
	}
	return path
}

// cut copies what a power cut leaves at this moment to another directory.
func (d *disk) cut(to string) error {
	return filepath.WalkDir(d.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(d.dir, path)
		switch copied := filepath.Join(to, below); {
		case err != nil:
			return err
		case d.names[path] && entry.IsDir():
			return fs.SkipDir
		case d.names[path]:
			return nil
		case entry.IsDir():
			return os.MkdirAll(copied, 0o755)
		case d.content[path]:
			return os.WriteFile(copied, nil, 0o644)
		default:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(copied, data, 0o644)
		}
	})
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return err != nil
}

// The power goes at the moment at which a rollback moves the branch. Whether the
// disk has the old branch or the new one then, it has all objects of it.
func TestPowerCutDuringRollback(t *testing.T) {
	s := &scene{t: t, child: filepath.Join(t.TempDir(), "child")}
	s.must("", "go", "build", "-o", s.child, "headway.dev/cmd/headway/crash/child")
	repo, work := filepath.Join(t.TempDir(), "repo.git"), filepath.Join(t.TempDir(), "work")
	s.must("", "git", "init", "-q", "--bare", "-b", "main", repo)
	s.must("", "git", "clone", "-q", repo, work)
	text := strings.Repeat("a line\n", 20)
	commit := func(subject, file, text string) string {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(work, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(work, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		s.must(work, "git", "add", "-A")
		s.must(work, "git", "commit", "-q", "-m", subject)
		s.must(work, "git", "push", "-q", "origin", "HEAD:main")
		return s.must(work, "git", "rev-parse", "HEAD")
	}
	commit("first", "apps/web/a.yaml", text)
	head := commit("second", "apps/web/a.yaml", text+"one more\n")

	d := &disk{dir: repo, content: map[string]bool{}, names: map[string]bool{}}
	branch, image, revert := filepath.Join(repo, "refs/heads/main"), filepath.Join(t.TempDir(), "repo.git"), ""
	var failed error
	err := watch(t.Context(), func(call notification) bool {
		moves := call.data.number == unix.SYS_RENAMEAT || call.data.number == unix.SYS_RENAMEAT2
		if moves && d.path(call, call.data.args[2], call.data.args[3]) == branch {
			// The name alone reaches the disk, which nothing has waited for.
			lock := d.path(call, call.data.args[0], call.data.args[1])
			data, err := os.ReadFile(lock)
			if d.content[lock] {
				data = nil
			}
			revert = strings.TrimSpace(string(data))
			if failed = err; failed == nil {
				failed = d.cut(image)
			}
		}
		d.see(call)
		return false
	}, s.child, "--revert", repo)
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	if d.names[branch] || d.content[branch] {
		t.Error("the rollback has ended, and a power cut would take it back")
	}
	if got := s.must(image, "git", "rev-parse", "main"); got != head {
		t.Errorf("before the branch moves it is at %s, want %s", got, head)
	}
	if err := os.WriteFile(filepath.Join(image, "refs/heads/main"), []byte(revert+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{image, repo} {
		if out, err := exec.CommandContext(t.Context(), "git", "-C", dir, "fsck", "--strict", "--full").CombinedOutput(); err != nil {
			t.Errorf("git fsck of %s: %v\n%s", filepath.Base(filepath.Dir(dir)), err, out)
		}
		if got := s.must(dir, "git", "show", "main:apps/web/a.yaml"); got != strings.TrimSpace(text) {
			t.Errorf("the file of the revert is %q", got)
		}
		if parent := s.must(dir, "git", "rev-parse", "main^"); parent != head {
			t.Errorf("the revert stands on %s, want %s", parent, head)
		}
	}
}
