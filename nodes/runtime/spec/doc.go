// Package spec converts Kubernetes' description of a container to the OCI
// runtime's.
package spec
