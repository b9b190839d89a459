// Package runc tells which known ways out of its containers the machine's runc
// has.
package runc
