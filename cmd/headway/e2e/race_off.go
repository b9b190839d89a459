//go:build !race

package e2e

// Without the race detector the program is built as it is released. Race reports
// whether it is built with it.
const (
	Race    = false
	cgo     = "0"
	ldflags = "-s -w "
)

var raceFlags []string
