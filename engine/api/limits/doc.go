// Package limits bounds what a request may take: its time, its body, how many run
// at once, the answers that are built whole, and what a panic ends.
package limits
