// Package machine describes this machine and its resources, and reads files to
// which containers may have access.
package machine
