// Package runc reports known container escapes in the machine's runc.
package runc
