// Package datadir knows what a data directory contains, who may use it, and how
// it is removed.
package datadir
