// Package progress says what the loops of Kustomizations have come to, for those who
// only ask.
package progress
