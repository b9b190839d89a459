package plan

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/scheme"
)

// rank is the place of a kind; one that is not served comes anywhere.
func rank(gk schema.GroupKind) kind.Order {
	if k, ok := scheme.ForKind(gk); ok {
		return k.Order
	}
	return kind.Anywhere
}

// restarts reports whether an update of a kind replaces running pods.
func restarts(a Action) bool {
	k, ok := scheme.ForKind(a.Key.GroupKind)
	return ok && k.Rolls && (a.Recreate || kind.Edit{Paths: a.FieldPaths()}.Template())
}
