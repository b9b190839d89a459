// Package rbac holds the kinds of rbac.authorization.k8s.io/v1, each in a file of its name.
package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of rbac.authorization.k8s.io/v1.
var Group = kind.Group{
	AddToScheme: rbacv1.AddToScheme,
	Kinds:       []*kind.Kind{role, roleBinding, clusterRole, clusterRoleBinding},
}
