package apitest

import (
	"io"
	"sync"
	"testing"
)

// Output is the log of the code under test: it writes to the test's output, and
// nowhere once the test has ended. The logger of the process's libraries is
// that of the first server and outlives its test, and a late message to it
// would end all tests.
func Output(tb testing.TB) io.Writer {
	tb.Helper()
	o := &output{to: tb.Output()}
	tb.Cleanup(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.to = io.Discard
	})
	return o
}

type output struct {
	mu sync.Mutex
	to io.Writer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.to.Write(p)
}
