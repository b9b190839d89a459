// Package report writes the answers of a cluster as text, Markdown and JSON:
// statuses, plans, logs, blame and the steps of a sync.
package report
