//go:build !race

package git_test

const (
	// mirroredBlob is the length of the blob that is read to its end, in bytes.
	mirroredBlob = gigabyte
	// manyReferences are nearly as many as a server may list.
	manyReferences = 400_000
	// mostMB is how much memory a fetch may take at most besides what the
	// process has anyway: a small part of what it is sent.
	mostMB = 250
)
