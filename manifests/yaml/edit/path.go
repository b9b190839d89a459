package edit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"headway.dev/manifests/model/fieldpath"
)

// Put returns the document with value at a path, in the notation of package
// diff. Missing parts of the path are created: mappings, and items of lists
// that are named by their keys or come after the last one. The document is
// changed in place if possible.
func Put(doc any, path string, value any) (any, error) {
	return put(doc, fieldpath.Parse(path), value)
}

func put(at any, path []fieldpath.Segment, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	step := path[0]
	if at == nil {
		at = map[string]any{}
		if _, isIndex := index(step); isIndex || step.Bracket && strings.Contains(step.Text, "=") {
			at = []any{}
		}
	}
	switch c := at.(type) {
	case map[string]any:
		next, err := put(c[step.Text], path[1:], value)
		if err != nil {
			return nil, err
		}
		c[step.Text] = next
		return c, nil
	case []any:
		i := find1(c, step)
		if i < 0 {
			key, v, named := strings.Cut(step.Text, "=")
			n, isIndex := index(step)
			if !named && (!isIndex || n != len(c)) {
				return nil, fmt.Errorf("there is no item %s", step.Text)
			}
			i = len(c)
			c = append(c, nil)
			if named {
				v, _, _ = strings.Cut(v, ",")
				c[i] = map[string]any{key: v}
			}
		}
		next, err := put(c[i], path[1:], value)
		if err != nil {
			return nil, err
		}
		c[i] = next
		return c, nil
	}
	return nil, fmt.Errorf("%s is in a value that has no fields", step.Text)
}

func index(s fieldpath.Segment) (int, bool) {
	n, err := strconv.Atoi(s.Text)
	return n, err == nil && s.Bracket && n >= 0
}

// find1 is the index of the item that a step names, or -1. A key that an item
// leaves out has its default, and so does not count.
func find1(list []any, step fieldpath.Segment) int {
	if i, ok := index(step); ok && i < len(list) {
		return i
	}
	return slices.IndexFunc(list, func(item any) bool {
		m, ok := item.(map[string]any)
		if !ok || !strings.Contains(step.Text, "=") {
			return false
		}
		found := false
		for pair := range strings.SplitSeq(step.Text, ",") {
			k, v, _ := strings.Cut(pair, "=")
			have, ok := m[k]
			if ok && fmt.Sprint(have) != v {
				return false
			}
			found = found || ok
		}
		return found
	})
}

// Drop returns the document without the value at a path, and without mappings
// and lists that become empty. If the key that names a list item is dropped,
// the item is removed. It reports false if there is no such value.
func Drop(doc any, path string) (any, bool) {
	return drop(doc, fieldpath.Parse(path))
}

func drop(at any, path []fieldpath.Segment) (any, bool) {
	step := path[0]
	switch c := at.(type) {
	case map[string]any:
		next, ok := c[step.Text]
		if !ok {
			return at, false
		}
		if len(path) > 1 {
			if next, ok = drop(next, path[1:]); !ok || !empty(next) {
				c[step.Text] = next
				return c, ok
			}
		}
		delete(c, step.Text)
		return c, true
	case []any:
		i := find1(c, step)
		if i < 0 {
			return at, false
		}
		key, _, named := strings.Cut(step.Text, "=")
		if len(path) > 1 && (!named || len(path) > 2 || path[1].Text != key) {
			next, ok := drop(c[i], path[1:])
			if c[i] = next; !ok || !empty(next) {
				return c, ok
			}
		}
		return slices.Delete(c, i, i+1), true
	}
	return at, false
}

func empty(v any) bool {
	switch c := v.(type) {
	case map[string]any:
		return len(c) == 0
	case []any:
		return len(c) == 0
	}
	return false
}

// Lookup returns the value at a path.
func Lookup(doc any, path string) (any, bool) {
	for _, step := range fieldpath.Parse(path) {
		switch c := doc.(type) {
		case map[string]any:
			next, ok := c[step.Text]
			if !ok {
				return nil, false
			}
			doc = next
		case []any:
			i := find1(c, step)
			if i < 0 {
				return nil, false
			}
			doc = c[i]
		default:
			return nil, false
		}
	}
	return doc, true
}
