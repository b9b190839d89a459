package api_test

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"headway.dev/engine/api"
)

// warnings are those of the process's libraries, and of servers that log to it.
// Goroutines outlive tests, so their logger is the same all the time.
var (
	warnings     recorder
	warningsOnly = slog.New(slog.NewTextHandler(&warnings, &slog.HandlerOptions{Level: slog.LevelWarn}))
)

// recorder keeps what is written to it while it records.
type recorder struct {
	mu        sync.Mutex
	recording bool
	text      bytes.Buffer
}

// Write implements io.Writer.
func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.recording {
		r.text.Write(p)
	}
	return len(p), nil
}

func (r *recorder) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recording = true
	r.text.Reset()
}

// stop returns what was written since start.
func (r *recorder) stop() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recording = false
	return r.text.String()
}

func TestMain(m *testing.M) {
	api.SetUpProcess(warningsOnly)
	goleak.VerifyTestMain(m,
		// Closing a SPDY connection waits for streams that the other side has
		// not closed, for ever if it is gone: the library's own goroutine.
		goleak.IgnoreTopFunction("github.com/moby/spdystream.(*Connection).shutdown"),
		// The library waits a second before it ends what served a definition.
		goleak.IgnoreAnyFunction("k8s.io/apiextensions-apiserver/pkg/apiserver.(*crdHandler).tearDown"),
		goleak.IgnoreAnyFunction("k8s.io/apiextensions-apiserver/pkg/apiserver.(*crdHandler).tearDown.func1"),
		// The audit log's library removes old files in a goroutine that never ends.
		goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"),
	)
}
