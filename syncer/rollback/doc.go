// Package rollback takes commits back, by revert commits on the branch of their
// source, and knows what was deployed before and which commits are reverts.
package rollback
