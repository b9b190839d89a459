package render

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/load"
)

// scopes gives custom resources the namespace that they have: one that is in a
// namespace is in "default" if it does not say so, and one that is in none loses the
// one that it names, as with kubectl. Only its definition knows; so this is done
// anew each time, and what is cached stays as it was loaded.
type scopes struct {
	// defined are the definitions that were rendered, with their kinds.
	defined map[object.Object]*apiextensionsv1.CustomResourceDefinition
	// moved are the resources of the last time in their namespaces.
	moved map[object.Object]object.Object
}

// in returns the items with their namespaces, which are mostly the items themselves.
func (s *scopes) in(items []load.Item, kinds *scheme.Set) []load.Item {
	if !hasCustom(items) {
		s.defined, s.moved = nil, nil
		return items
	}
	defined, moved := map[object.Object]*apiextensionsv1.CustomResourceDefinition{}, map[object.Object]object.Object{}
	var list []*apiextensionsv1.CustomResourceDefinition
	for _, it := range items {
		crd, ok := it.Object.(*apiextensionsv1.CustomResourceDefinition)
		if !ok || it.LeftOut() != "" {
			continue
		}
		full := s.defined[crd]
		if full == nil {
			full = crd.DeepCopy()
			defaults.Apply(full)
		}
		defined[crd] = full
		list = append(list, full)
	}
	kinds = kinds.With(list...)
	out := items
	for i, it := range items {
		u, ok := it.Object.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		k, ok := kinds.ForKind(u.GroupVersionKind().GroupKind())
		if !ok {
			continue
		}
		namespace := namespaceOf(k, u)
		if namespace == u.GetNamespace() {
			continue
		}
		there := s.moved[u]
		if there == nil || there.GetNamespace() != namespace {
			next := u.DeepCopy()
			next.SetNamespace(namespace)
			there = next
		}
		moved[u] = there
		if len(out) > 0 && &out[0] == &items[0] {
			out = append([]load.Item(nil), items...)
		}
		out[i].Object = there
	}
	s.defined, s.moved = defined, moved
	return out
}

func namespaceOf(k *kind.Kind, u *unstructured.Unstructured) string {
	switch {
	case !k.Namespaced:
		return ""
	case u.GetNamespace() == "":
		return metav1.NamespaceDefault
	}
	return u.GetNamespace()
}

func hasCustom(items []load.Item) bool {
	for _, it := range items {
		if _, ok := it.Object.(*unstructured.Unstructured); ok {
			return true
		}
	}
	return false
}
