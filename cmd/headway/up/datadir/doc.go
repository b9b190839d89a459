// Package datadir has what a data dir holds, who may use it, and how it is removed.
package datadir
