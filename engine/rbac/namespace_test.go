package rbac_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/rbac"
	"headway.dev/manifests/model/object"
)

// A Namespace is in itself, but for its creation.
func TestAllowedNamespace(t *testing.T) {
	w := newWorld(
		clusterRole("all", rule("*", "*", "*")), binding("shop", "all", "ClusterRole all", "User ada"),
	)
	key := func(name string) object.Key {
		return object.Key{GroupKind: schema.GroupKind{Kind: "Namespace"}, Name: name}
	}
	for _, c := range []struct{ verb, name, want string }{
		{"get", "shop", ""},
		{"patch", "shop", ""},
		{"delete", "shop", ""},
		{"create", "shop", `namespaces "shop" is forbidden: User "ada" cannot create resource "namespaces" in API group "" at the cluster scope`},
		{"delete", "other", `namespaces "other" is forbidden: User "ada" cannot delete resource "namespaces" in API group "" in the namespace "other"`},
	} {
		got := ""
		if err := w.Allowed(rbac.User{Name: "ada"}, c.verb, key(c.name)); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s %s: got %q, want %q", c.verb, c.name, got, c.want)
		}
	}
}
