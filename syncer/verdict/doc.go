// Package verdict has what is known of the health of an applied commit, as the
// conditions of a status hold it, and decides what follows from it. It is pure.
package verdict
