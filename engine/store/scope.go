package store

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Scope is a part of a kind's objects that the store finds, and whose events it
// finds, without a look at the others. The zero value is all of them.
type Scope struct {
	// Namespace and Name are those of the objects' keys, if they are set.
	Namespace, Name string
	// Field is one of the kind's indexed fields, and Value what it has. A scope
	// has a Name or a Field, or neither.
	Field, Value string
}

// term is what is in the scope in one word; ok is false for all objects.
func (x Indexes) term(of schema.GroupKind, scope Scope) (t term, ok bool, err error) {
	switch {
	case scope.Field != "" && scope.Name != "":
		return t, false, fmt.Errorf("store: the name %q and the field %q in one scope of %s", scope.Name, scope.Field, of)
	case scope.Field != "":
		i := slices.IndexFunc(x, func(index kind.Index[object.Object]) bool { return index.Field == scope.Field })
		if i < 0 {
			return t, false, fmt.Errorf("store: %s has no index of the field %q", of, scope.Field)
		}
		return term{i, scope.Namespace, scope.Value}, true, nil
	case scope.Name != "":
		return term{byName, scope.Namespace, scope.Name}, true, nil
	case scope.Namespace != "":
		return term{byNamespace, scope.Namespace, ""}, true, nil
	}
	return t, false, nil
}

// Indexes are the fields by which objects of a kind are found.
type Indexes []kind.Index[object.Object]

// servedIndexes returns the indexes in the definition of a kind.
func servedIndexes(of schema.GroupKind) Indexes {
	k, ok := scheme.ForKind(of)
	if !ok {
		return nil
	}
	return k.Fields.Indexes
}

// values are those of an object, in the order of the indexes.
func (x Indexes) values(obj object.Object) []string {
	if len(x) == 0 {
		return nil
	}
	values := make([]string, len(x))
	for i, index := range x {
		values[i] = index.Value(obj)
	}
	return values
}

// Indexed returns the indexed fields of a kind, of which a Scope may name one.
func (s *Store) Indexed(of schema.GroupKind) []string {
	var names []string
	for _, index := range s.indexes(of) {
		names = append(names, index.Field)
	}
	return names
}
