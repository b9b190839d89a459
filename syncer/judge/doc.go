// Package judge waits until what a Kustomization has applied is healthy, gives the
// verdict, and takes it back if what was healthy soon is not.
package judge
