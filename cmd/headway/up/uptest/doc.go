// Package uptest runs clusters in a test's own process.
package uptest
