package headwaytest

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/wait"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Golden compares a text with a file.
func Golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.FromSlash(name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", file, d)
	}
}

// Shows checks that a text contains all the given words.
func Shows(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not show %q:\n%s", what, w, text)
		}
	}
}

// quiet is for how long nothing may change for Quiet.
const quiet = 300 * time.Millisecond

// Eventually waits until ok reports true. If it does not within a minute, the
// test fails with what state says.
func Eventually(tb testing.TB, what string, ok func() bool, state func() string) {
	tb.Helper()
	const pause, limit = 10 * time.Millisecond, time.Minute
	if err := wait.PollUntilContextTimeout(tb.Context(), pause, limit, true, func(context.Context) (bool, error) { return ok(), nil }); err != nil {
		tb.Fatalf("not within %s: %s\n%s", limit, what, state())
	}
}

// Quiet waits until value has been the same for a while.
func Quiet(tb testing.TB, what string, value func() string) {
	tb.Helper()
	last, since := value(), time.Now()
	Eventually(tb, what, func() bool {
		if now := value(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > quiet
	}, value)
}

// Output collects what several goroutines print.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (p *Output) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.Write(data)
}

// String returns everything printed so far.
func (p *Output) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.String()
}
