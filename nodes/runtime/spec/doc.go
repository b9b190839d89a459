// Package spec turns Kubernetes' description of a container into the OCI runtime's.
package spec
