// Package passage asks the gates whether a plan may be stored: it reads from Git and
// from the store what they decide by.
package passage
