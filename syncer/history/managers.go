package history

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	managed "sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	managedvalue "sigs.k8s.io/structured-merge-diff/v6/value"

	"headway.dev/manifests/model/fieldpath"
	"headway.dev/manifests/model/object"
)

// Manager is one entry of managedFields.
type Manager struct {
	Name   string
	Time   time.Time
	fields *managed.Set
}

// ManagersOf returns the managers of an object, without entries that name no
// fields or cannot be read.
func ManagersOf(obj object.Object) []Manager {
	var out []Manager
	for _, e := range obj.GetManagedFields() {
		m := Manager{Name: e.Manager, fields: managed.NewSet()}
		if e.Time != nil {
			m.Time = e.Time.Time
		}
		if e.FieldsV1 == nil || m.fields.FromJSON(bytes.NewReader(e.FieldsV1.GetRawBytes())) != nil {
			continue
		}
		out = append(out, m)
	}
	return out
}

// Owns reports whether the manager has set the field at a path in the notation of
// package diff: the field itself, a part of it, or the whole of something around
// it.
func (m Manager) Owns(path string) bool { return owns(m.fields, fieldpath.Parse(path)) }

func owns(set *managed.Set, path []fieldpath.Segment) bool {
	found := false
	set.Members.Iterate(func(e managed.PathElement) {
		n := leads(e, path)
		// What is owned together with parts of it is not owned as a whole.
		found = found || n == len(path) || n > 0 && set.WithPrefix(e).Empty()
	})
	set.Children.Iterate(func(e managed.PathElement) {
		n := leads(e, path)
		found = found || n > 0 && (n == len(path) || owns(set.WithPrefix(e), path[n:]))
	})
	return found
}

// leads is how many segments at the beginning of the path an element of a set
// is.
func leads(e managed.PathElement, path []fieldpath.Segment) int {
	switch {
	case e.FieldName != nil:
		return namesField(*e.FieldName, path)
	case e.Key != nil && path[0].Bracket && hasKeys(*e.Key, path[0].Text):
		return 1
	}
	return 0
}

// namesField is how many segments of the path a field's name is: one that has
// dots may be spread over several.
func namesField(name string, path []fieldpath.Segment) int {
	rest := name
	for i, s := range path {
		if i > 0 {
			dot := strings.HasPrefix(rest, ".")
			if s.Bracket || path[i-1].Bracket || !dot {
				return 0
			}
			rest = rest[1:]
		}
		var ok bool
		if rest, ok = strings.CutPrefix(rest, s.Text); !ok {
			return 0
		}
		if rest == "" {
			return i + 1
		}
	}
	return 0
}

// hasKeys compares the keys containerPort: 80 and protocol: TCP with
// containerPort=80.
func hasKeys(keys managedvalue.FieldList, segment string) bool {
	if !strings.Contains(segment, "=") {
		return false
	}
	for pair := range strings.SplitSeq(segment, ",") {
		name, want, _ := strings.Cut(pair, "=")
		if !slices.ContainsFunc(keys, func(f managedvalue.Field) bool { return f.Name == name && fmt.Sprint(f.Value.Unstructured()) == want }) {
			return false
		}
	}
	return true
}

// controllerOf is "Kind/name" of the controller that an object belongs to.
func controllerOf(obj object.Object) string {
	if ref := metav1.GetControllerOf(obj); ref != nil {
		return ref.Kind + "/" + ref.Name
	}
	return ""
}
