//go:build race

package e2e

// The program under test is built with the race detector when the tests run
// with it, which needs cgo. It is linked statically, as the released one is: the
// image of its example has no libraries. Race reports whether this is so.
const (
	Race    = true
	cgo     = "1"
	ldflags = "-linkmode=external -extldflags=-static "
)

var raceFlags = []string{"-race"}
