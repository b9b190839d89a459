// Package report reports the outcome of commits to forges, as commit statuses.
package report
