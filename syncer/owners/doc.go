// Package owners knows which Kustomization has an object.
package owners
