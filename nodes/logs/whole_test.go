package logs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"headway.dev/nodes/logs"
)

// rotatedName is the name of the i-th rotated file of a log.
func rotatedName(path string, i int) string {
	return fmt.Sprintf("%s.20260102-15040%d.000000000", path, i)
}

// TestReadWhole: the files that were rotated before the reader came are read
// too, the oldest first, and then those that come.
func TestReadWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	write := func(name string, i int) {
		if err := os.WriteFile(name, []byte(line(i, "stdout", "F", fmt.Sprint("file ", i))), 0o644); err != nil {
			t.Error(err)
		}
	}
	write(rotatedName(path, 0), 0)
	write(rotatedName(path, 1), 1)
	write(path, 2)
	var running atomic.Bool
	running.Store(true)
	out := &slow{first: func() {
		if err := os.Rename(path, rotatedName(path, 2)); err != nil {
			t.Error(err)
		}
		write(path, 3)
		running.Store(false)
	}}
	if err := logs.Read(t.Context(), path, logs.Options{Whole: true, Follow: true, Running: running.Load}, out, out); err != nil {
		t.Fatal(err)
	}
	if want := "file 0\nfile 1\nfile 2\nfile 3\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// TestReadWholeOrFail: who wants all and reads so slowly that a file goes
// meanwhile gets an error, not a text with a hole.
func TestReadWholeOrFail(t *testing.T) {
	for _, c := range []struct {
		name, want string
		gone       []int // the rotated files that are removed while file 0 is read
		last       bool  // as is the file that is written
	}{
		{"its own and the next file are gone", "came faster than it was read", []int{0, 1}, false},
		{"all files are gone", "was removed before all of it was read", []int{0, 1}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "0.log")
			for i, name := range []string{rotatedName(path, 0), rotatedName(path, 1), path} {
				if err := os.WriteFile(name, []byte(line(i, "stdout", "F", fmt.Sprint("file ", i))), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			out := &slow{first: func() {
				for _, i := range c.gone {
					if err := os.Remove(rotatedName(path, i)); err != nil {
						t.Error(err)
					}
				}
				if c.last {
					if err := os.Remove(path); err != nil {
						t.Error(err)
					}
				}
			}}
			ended := func() bool { return false }
			err := logs.Read(t.Context(), path, logs.Options{Whole: true, Follow: true, Running: ended}, out, out)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Read = %v, having written %q; want an error with %q", err, out.String(), c.want)
			}
		})
	}
}
