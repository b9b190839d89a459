package api

import "testing"

// SetUpProcess is what the first New of a process does to it.
var SetUpProcess = setUpProcess

// SetWholeBytes bounds the answers that servers started from now on build whole
// at one time, until the test ends.
func SetWholeBytes(t *testing.T, bytes int64) {
	before := wholeBytes
	wholeBytes = bytes
	t.Cleanup(func() { wholeBytes = before })
}
