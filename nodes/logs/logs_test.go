package logs_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"headway.dev/nodes/logs"
)

var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// line is one entry, i seconds after start.
func line(i int, stream, tag, message string) string {
	return start.Add(time.Duration(i)*time.Second).Format(time.RFC3339Nano) + " " + stream + " " + tag + " " + message + "\n"
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	path := write(t, line(0, "stdout", "F", "one")+line(1, "stderr", "F", "two")+line(2, "stdout", "P", "th")+line(2, "stdout", "F", "ree")+
		"garbage\n"+line(3, "stdout", "F", "")+line(4, "stdout", "P", "four"))
	for _, c := range []struct {
		name        string
		opts        logs.Options
		out, errOut string
	}{
		{"all", logs.Options{TailLines: -1}, "one\nthree\n\nfour", "two\n"},
		{"none", logs.Options{}, "", ""},
		{"the last", logs.Options{TailLines: 1}, "four", ""},
		{"the parts of a line are one", logs.Options{TailLines: 4}, "three\n\nfour", ""},
		{"more than there are", logs.Options{TailLines: 100}, "one\nthree\n\nfour", "two\n"},
		{"since", logs.Options{TailLines: -1, Since: start.Add(3 * time.Second)}, "\nfour", ""},
		{"timestamps", logs.Options{TailLines: 2, Timestamps: true}, "2026-03-04T05:06:10Z \n2026-03-04T05:06:11Z four", ""},
		{"limit", logs.Options{TailLines: -1, LimitBytes: 6}, "on", "two\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			if err := logs.Read(t.Context(), path, c.opts, &out, &errOut); err != nil {
				t.Fatal(err)
			}
			if c.name == "limit" { // both streams count
				if got := out.String() + errOut.String(); got != "one\ntw" {
					t.Errorf("got %q, want %q", got, "one\ntw")
				}
				return
			}
			if out.String() != c.out || errOut.String() != c.errOut {
				t.Errorf("got %q and %q, want %q and %q", out.String(), errOut.String(), c.out, c.errOut)
			}
		})
	}
	var out bytes.Buffer
	if err := logs.Read(t.Context(), path+".none", logs.Options{TailLines: -1}, &out, &out); err != nil || out.Len() > 0 {
		t.Errorf("no log: got %q, %v", out.String(), err)
	}
	if got := logs.Tail(path, 2, 3); got != "our" {
		t.Errorf("Tail: got %q, want %q", got, "our")
	}
}

// TestTailOfLargeLogs compares with counting all lines, for lines of any length
// across the blocks that are read.
func TestTailOfLargeLogs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var content strings.Builder
	var messages []string
	for i := range 3000 {
		message := strings.Repeat(string(rune('a'+i%26)), random.IntN(300))
		if random.IntN(50) == 0 {
			message = strings.Repeat("x", 80<<10)
		}
		messages = append(messages, message+"\n")
		for len(message) > 16<<10 {
			content.WriteString(line(i, "stdout", "P", message[:16<<10]))
			message = message[16<<10:]
		}
		content.WriteString(line(i, "stdout", "F", message))
	}
	path := write(t, content.String())
	for _, n := range []int{1, 2, 10, 100, 999, 2999, 3000, 5000} {
		var out bytes.Buffer
		if err := logs.Read(t.Context(), path, logs.Options{TailLines: int64(n)}, &out, &out); err != nil {
			t.Fatal(err)
		}
		if want := strings.Join(messages[max(len(messages)-n, 0):], ""); out.String() != want {
			t.Errorf("the last %d lines: got %d bytes, want %d", n, out.Len(), len(want))
		}
	}
}

// buffer is written by the reader and read by the test.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestFollow: nothing is lost or repeated across rotations, and the reader ends
// with the container.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app", "0.log")
	var running atomic.Bool
	running.Store(true)
	var out buffer
	done := make(chan error, 1)
	go func() {
		done <- logs.Read(context.Background(), path, logs.Options{TailLines: -1, Follow: true, Running: running.Load}, &out, &out)
	}()
	var want strings.Builder
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for rotation := range 3 {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 200 {
			text := line(i, "stdout", "F", fmt.Sprintf("%d/%d", rotation, i))
			half := len(text) / 2
			for _, part := range []string{text[:half], text[half:]} {
				if _, err := f.WriteString(part); err != nil {
					t.Fatal(err)
				}
			}
			fmt.Fprintf(&want, "%d/%d\n", rotation, i)
		}
		f.Close()
		same := func(context.Context) (bool, error) { return out.String() == want.String(), nil }
		if err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, 30*time.Second, true, same); err != nil {
			t.Fatalf("rotation %d: got %d bytes, want %d: %v", rotation, len(out.String()), want.Len(), err)
		}
		if err := os.Rename(path, fmt.Sprintf("%s.%d", path, rotation)); err != nil {
			t.Fatal(err)
		}
	}
	running.Store(false)
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the reader does not end with the container")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(line(0, "stdout", "F", "one")+line(1, "stderr", "P", "two")), int64(1))
	f.Add([]byte("\n\n \n x y z\n"), int64(2))
	f.Fuzz(func(t *testing.T, content []byte, tail int64) {
		path := filepath.Join(t.TempDir(), "0.log")
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		var all, some bytes.Buffer
		if err := logs.Read(t.Context(), path, logs.Options{TailLines: -1}, &all, &all); err != nil {
			t.Fatal(err)
		}
		if err := logs.Read(t.Context(), path, logs.Options{TailLines: max(tail, 0)}, &some, &some); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(all.Bytes(), some.Bytes()) {
			t.Errorf("the last %d lines %q are not the end of %q", tail, some.Bytes(), all.Bytes())
		}
	})
}
