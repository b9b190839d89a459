// Package foresee asks the admission of the store what it would say of a plan's
// objects, before they are stored.
package foresee
