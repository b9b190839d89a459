package syncer

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/fieldpath"
	"headway.dev/manifests/model/object"
)

// manager is one entry of managedFields.
type manager struct {
	name string
	time time.Time
	// fields are as FieldsV1 has them: "f:" and a field's name, "k:" and the
	// keys of a list's item, "v:" and the value of one; {} is a whole value.
	fields map[string]any
}

func managersOf(obj object.Object) []manager {
	var out []manager
	for _, e := range obj.GetManagedFields() {
		m := manager{name: e.Manager}
		if e.Time != nil {
			m.time = e.Time.Time
		}
		if e.FieldsV1 == nil || json.Unmarshal(e.FieldsV1.GetRawBytes(), &m.fields) != nil {
			continue
		}
		out = append(out, m)
	}
	return out
}

// owns says whether the manager has set the field at a path in the notation of
// package diff.
func (m manager) owns(path string) bool { return owns(m.fields, fieldpath.Parse(path)) }

func owns(fields map[string]any, path []fieldpath.Segment) bool {
	if len(path) == 0 || len(fields) == 0 {
		return true // the field itself, or the whole of something around it
	}
	for key, below := range fields {
		kind, name, _ := strings.Cut(key, ":")
		used := 0
		switch kind {
		case "f":
			used = namesField(name, path)
		case "k":
			if path[0].Bracket && hasKeys(name, path[0].Text) {
				used = 1
			}
		}
		sub, ok := below.(map[string]any)
		if used > 0 && ok && owns(sub, path[used:]) {
			return true
		}
	}
	return false
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

// hasKeys compares {"containerPort":80,"protocol":"TCP"} with
// containerPort=80.
func hasKeys(keys, segment string) bool {
	var have map[string]any
	if json.Unmarshal([]byte(keys), &have) != nil || !strings.Contains(segment, "=") {
		return false
	}
	for pair := range strings.SplitSeq(segment, ",") {
		k, v, _ := strings.Cut(pair, "=")
		if got, ok := have[k]; !ok || fmt.Sprint(got) != v {
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
