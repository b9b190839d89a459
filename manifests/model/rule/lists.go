package rule

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// SetField is a field by its name, and whether it is set.
type SetField struct {
	Name string
	Set  bool
}

// NoneOf forbids the fields that are set.
func NoneOf(path *field.Path, message string, fields []SetField) field.ErrorList {
	var errs field.ErrorList
	for _, f := range fields {
		if f.Set {
			errs = append(errs, field.Forbidden(path.Child(f.Name), message))
		}
	}
	return errs
}

// Unique reports a name that was seen before, and remembers it.
func Unique[T comparable](seen map[T]bool, value T, path *field.Path) field.ErrorList {
	if seen[value] {
		return field.ErrorList{field.Duplicate(path, value)}
	}
	seen[value] = true
	return nil
}

// Twice returns the items of a list whose key an earlier item has; name is the
// name of the key's field, if it is a field.
func Twice[T any](path *field.Path, name string, list []T, key func(T) any) field.ErrorList {
	if len(list) < 2 {
		return nil
	}
	var errs field.ErrorList
	seen := make(map[any]bool, len(list))
	for i, item := range list {
		at := path.Index(i)
		if name != "" {
			at = at.Child(name)
		}
		errs = append(errs, Unique(seen, key(item), at)...)
	}
	return errs
}
