// Package crash tests the syncer on the real store with kill -9, and a rollback
// with a power cut. Its only code is [headway.dev/cmd/headway/crash/child], the
// process that the tests watch and kill.
package crash
