// Package source follows sources: it fetches, verifies, and accepts heads. There
// are two ways to a [Head], what the source has now and another commit of it, so
// that none is without what the source includes.
package source
