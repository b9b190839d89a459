// Package editors remembers who edits objects by hand, to name them when drift is
// put back or something is suspended.
package editors
