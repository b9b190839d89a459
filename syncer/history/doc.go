// Package history answers what Git declared at a commit or a time, and who set
// each field of an object.
package history
