// Package content tells what the new objects of a plan hold, and what changes of
// those whose names end in a hash of it.
package content
