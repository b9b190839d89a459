//go:build race

package git_test

// With the race detector hashing takes ten times as long, and every map many
// times the memory: these are smaller then. See race_off_test.go.
const (
	mirroredBlob   = 64 << 20
	manyReferences = 40_000
	mostMB         = 500
)
