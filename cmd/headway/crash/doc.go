// Package crash tests the syncer on the real store with kill -9, and a rollback
// with a power cut, and a
// rotation of the key of Secrets with kill -9. Its only code are the processes that
// the tests watch and kill: [headway.dev/cmd/headway/crash/child] and
// [headway.dev/cmd/headway/crash/rotate].
package crash
