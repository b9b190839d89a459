// Package fieldpath writes and reads the paths that name an object's fields to
// people: spec.containers[0].image, spec.containers[name=web].image,
// metadata.annotations[example.com/key].
package fieldpath

import "strings"

// Join appends a field or a map's key to a path, in brackets if it is not a
// plain name.
func Join(path, key string) string {
	if key == "" || strings.ContainsAny(key, "./[] ") {
		return path + "[" + key + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// Segment is one step of a path.
type Segment struct {
	Text string
	// Bracket is set for what stood in brackets: an index, a merge key, or a
	// map's key.
	Bracket bool
}

// Parse splits a path. Brackets may contain quotes, as in JSONPath.
func Parse(path string) []Segment {
	var out []Segment
	for len(path) > 0 {
		switch path[0] {
		case '.':
			path = path[1:]
		case '[':
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return out
			}
			out = append(out, Segment{Text: strings.Trim(path[1:end], `"'`), Bracket: true})
			path = path[end+1:]
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			out = append(out, Segment{Text: path[:end]})
			path = path[end:]
		}
	}
	return out
}
