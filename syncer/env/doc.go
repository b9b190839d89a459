// Package env contains what every part of the syncer works with: the store, the
// clock, the log, events and progress, and how its loops are woken and wait.
package env
