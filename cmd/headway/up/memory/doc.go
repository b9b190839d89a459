// Package memory gives memory that nothing needs any more back to the kernel.
package memory
