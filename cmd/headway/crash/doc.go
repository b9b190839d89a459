// Package crash holds the tests of the syncer on the real store that end with
// kill -9, and of a rollback that ends with the power; its only code is
// [headway.dev/cmd/headway/crash/child], which is what they watch and kill.
package crash
