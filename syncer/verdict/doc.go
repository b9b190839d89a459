// Package verdict knows the health of an applied commit, as recorded in the
// conditions of a status, and decides what follows from it. It is pure.
package verdict
