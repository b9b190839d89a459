package api

import (
	"testing"

	"headway.dev/engine/api/limits"
)

// SetUpProcess is what the first New of a process does to it.
var SetUpProcess = setUpProcess

// SetWholeBytes bounds the answers that servers started from now on build whole
// at one time, until the test ends.
func SetWholeBytes(t *testing.T, bytes int64) {
	t.Helper()
	before := limits.WholeBytes
	limits.WholeBytes = bytes
	t.Cleanup(func() { limits.WholeBytes = before })
}
