// Package up wires `headway up`: it checks the flags, opens the components of a
// cluster, runs them until it is told to stop, and cleans up what they leave.
package up
