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

// slow writes what it gets, and rotates the log several times under the reader
// on its first line.
type slow struct {
	buffer
	first func()
}

func (s *slow) Write(p []byte) (int, error) {
	if s.first != nil {
		first := s.first
		s.first = nil
		first()
	}
	return s.buffer.Write(p)
}

// TestFollowSlowly: a reader that is several rotations behind misses none of
// the files in between.
func TestFollowSlowly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	var want strings.Builder
	write := func(i int) {
		if err := os.WriteFile(path, []byte(line(i, "stdout", "F", fmt.Sprint("file ", i))), 0o644); err != nil {
			t.Error(err)
		}
		fmt.Fprintln(&want, "file", i)
	}
	write(0)
	var running atomic.Bool
	running.Store(true)
	out := &slow{first: func() {
		for i := 1; i < 5; i++ {
			if err := os.Rename(path, fmt.Sprintf("%s.20260102-15040%d.000000000", path, i)); err != nil {
				t.Error(err)
			}
			write(i)
		}
		running.Store(false)
	}}
	if err := logs.Read(t.Context(), path, logs.Options{TailLines: -1, Follow: true, Running: running.Load}, out, out); err != nil {
		t.Fatal(err)
	}
	if out.String() != want.String() {
		t.Errorf("got %q, want %q", out.String(), want.String())
	}
}
