// Package report tells forges what becomes of commits, as statuses of them.
package report
