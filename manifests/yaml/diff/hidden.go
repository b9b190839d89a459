package diff

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"headway.dev/manifests/model/object"
)

// HideAll is the value of HiddenFields that hides the whole object.
const HideAll = "*"

// maxHidden bounds the annotation; what would be longer hides the object.
const maxHidden = 16 << 10

// Hide marks fields of an object as secret, by their paths; without paths, the
// whole object.
func Hide(obj object.Object, paths []string) {
	value := HideAll
	if len(paths) > 0 {
		paths = slices.Compact(slices.Sorted(slices.Values(paths)))
		if raw, err := json.Marshal(paths); err == nil && len(raw) <= maxHidden {
			value = string(raw)
		}
	}
	annotations := map[string]string{}
	maps.Copy(annotations, obj.GetAnnotations())
	annotations[HiddenFields] = value
	obj.SetAnnotations(annotations)
}

// hiddenPaths are the fields whose values are not shown.
type hiddenPaths struct {
	all   bool
	paths []string
}

// hiddenFields reads the annotation of both objects. One that cannot be read
// hides everything.
func hiddenFields(objects ...object.Object) hiddenPaths {
	var h hiddenPaths
	for _, obj := range objects {
		if obj == nil {
			continue
		}
		value, ok := obj.GetAnnotations()[HiddenFields]
		if !ok {
			continue
		}
		var paths []string
		if value == HideAll || json.Unmarshal([]byte(value), &paths) != nil {
			h.all = true
			continue
		}
		h.paths = append(h.paths, paths...)
	}
	return h
}

// Hidden returns the paths of the fields of an object that are marked as
// secret; all reports whether the whole object is.
func Hidden(obj object.Object) (paths []string, all bool) {
	h := hiddenFields(obj)
	return h.paths, h.all
}

// covers reports whether a field is hidden, lies in one that is, or holds one.
func (h hiddenPaths) covers(path string) bool {
	if h.all {
		return path != "metadata.annotations["+HiddenFields+"]"
	}
	return slices.ContainsFunc(h.paths, func(p string) bool { return within(path, p) || within(p, path) })
}

// within reports whether a path is outer, or below it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// coarse is as much of a path as the kind alone determines.
func coarse(path string) string {
	segments := strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' })
	if len(segments) > 1 && (segments[0] == "spec" || segments[0] == "metadata") {
		return segments[0] + "." + segments[1]
	}
	if len(segments) == 0 {
		return path
	}
	return segments[0]
}
