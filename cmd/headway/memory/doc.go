// Package memory returns memory that is no longer needed to the kernel.
package memory
