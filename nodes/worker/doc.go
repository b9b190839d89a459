// Package worker does the work of the pods of a node. A [Set] has a worker for each
// pod, whose goroutine runs while there is something to do: it observes, lets package
// pod decide, carries the steps out and remembers why one failed.
//
// One pod's work is serialised by its worker; a deletion or a shorter grace period
// cancels the step in progress.
package worker
