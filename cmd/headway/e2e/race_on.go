//go:build race

package e2e

// The program under test is built with the race detector when the tests run
// with it, which needs cgo.
const (
	cgo     = "1"
	ldflags = ""
)

var raceFlags = []string{"-race"}
