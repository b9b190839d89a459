// Package crash holds the tests of the syncer on the real store that end with
// kill -9: it has no code of its own.
package crash
