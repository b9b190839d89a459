// Package crash holds the tests of the syncer on the real store that end with
// kill -9; its only code is [headway.dev/cmd/headway/crash/child], which is
// what they kill.
package crash
