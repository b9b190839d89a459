// Package budget bounds plans and diffs: how many of them one user has made at
// once, and how much one answer says.
package budget
