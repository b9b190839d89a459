// Package names gives OpenAPI definitions their names. The generator of the
// definitions and the server have to agree on them.
package names

import (
	"strings"

	"k8s.io/kube-openapi/pkg/util"
)

// Model names the definition of a Go type as Kubernetes does:
// k8s.io/api/core/v1.Pod is io.k8s.api.core.v1.Pod.
func Model(pkgPath, typeName string) string {
	return util.ToRESTFriendlyName(pkgPath + "." + typeName)
}

// Canonical turns the name by which the library asks for a Go type (either the
// model's name or the type's path) into the model's name.
func Canonical(name string) string {
	if strings.Contains(name, "/") {
		return util.ToRESTFriendlyName(name)
	}
	return name
}
