// Package limits bounds what a request may use: its time, its body, how many
// run at once, and the answers that are built whole. It also contains the
// effect of a panic to its request.
package limits
