// Package writeback reviews users' writes to what Git declares, and turns them into
// commits.
package writeback
