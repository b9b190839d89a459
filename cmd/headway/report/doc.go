// Package report writes what a cluster answers as text, Markdown and JSON:
// statuses, plans, logs, blame and the steps of a sync.
package report
