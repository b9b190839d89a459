package plan

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubectl/pkg/util/deployment"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// stands reports whether what was found out of a live state holds of another: they
// differ in nothing that a manifest can set, or in the number that the controller of
// Deployments gives each. That is nothing to a manifest that does not have it, unless
// somebody else has set it.
func (m memo) stands(live object.Object) bool {
	if SameButStatus(m.live, live) {
		return true
	}
	if _, ok := live.(*appsv1.Deployment); !ok || m.want == nil || m.live == nil {
		return false
	}
	_, declared := m.want.GetAnnotations()[deployment.RevisionAnnotation]
	return !declared && sameBut(deployment.RevisionAnnotation, m.live, live) && sameOwnership(m.live, live)
}

// SameButStatus reports whether two stored states of an object differ in
// nothing that a manifest can set.
func SameButStatus(a, b object.Object) bool { return sameBut("", a, b) }

// sameBut is SameButStatus, whatever they have as an annotation.
func sameBut(annotation string, a, b object.Object) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	if a == b || a.GetResourceVersion() == b.GetResourceVersion() && a.GetUID() == b.GetUID() && a.GetResourceVersion() != "" {
		return true
	}
	if a.GetUID() != b.GetUID() || (a.GetDeletionTimestamp() == nil) != (b.GetDeletionTimestamp() == nil) ||
		!equality.Semantic.DeepEqual(a.GetLabels(), b.GetLabels()) ||
		!within(a.GetAnnotations(), b.GetAnnotations(), annotation) || !within(b.GetAnnotations(), a.GetAnnotations(), annotation) ||
		!equality.Semantic.DeepEqual(a.GetOwnerReferences(), b.GetOwnerReferences()) ||
		!equality.Semantic.DeepEqual(a.GetFinalizers(), b.GetFinalizers()) {
		return false
	}
	if u, ok := a.(*unstructured.Unstructured); ok {
		v, ok := b.(*unstructured.Unstructured)
		return ok && sameContent(u.Object, v.Object) && sameContent(v.Object, u.Object)
	}
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	if x.Type() != y.Type() || x.Kind() != reflect.Pointer || x.Elem().Kind() != reflect.Struct {
		return equality.Semantic.DeepEqual(a, b)
	}
	x, y = x.Elem(), y.Elem()
	for i := range x.NumField() {
		switch x.Type().Field(i).Name {
		case "TypeMeta", "ObjectMeta", "Status":
			continue
		}
		if !equality.Semantic.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			return false
		}
	}
	return true
}

// within reports whether another map has all that one has but for a key.
func within(other, one map[string]string, but string) bool {
	for key, value := range one {
		if is, ok := other[key]; key != but && (!ok || is != value) {
			return false
		}
	}
	return true
}

// sameContent reports whether what a custom resource has apart from its metadata and
// its status is in another.
func sameContent(a, b map[string]any) bool {
	for name, value := range a {
		if name == "metadata" || name == "status" {
			continue
		}
		if other, ok := b[name]; !ok || !equality.Semantic.DeepEqual(value, other) {
			return false
		}
	}
	return true
}

// sameOwnership compares who owns which fields, and not since when.
func sameOwnership(a, b object.Object) bool {
	x, y := a.GetManagedFields(), b.GetManagedFields()
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		p, q := x[i], y[i]
		p.Time, q.Time = nil, nil
		if !equality.Semantic.DeepEqual(p, q) {
			return false
		}
	}
	return true
}

// toMap is the object as a manifest would have it: what is unset does not
// appear, not even where Go's types put an empty value.
func toMap(obj object.Object) (map[string]any, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	dropUnset(reflect.ValueOf(obj), m)
	return m, nil
}

var (
	marshaler = reflect.TypeFor[json.Marshaler]()
	timeType  = reflect.TypeFor[metav1.Time]()
)

// dropUnset removes from a value's encoding the structs that are zero: an
// apply that says "resources: {}" would own that field.
func dropUnset(v reflect.Value, encoded any) {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch v.Kind() { //nolint:exhaustive // other kinds hold no structs
	case reflect.Struct:
		m, ok := encoded.(map[string]any)
		if !ok || v.Type().Implements(marshaler) || reflect.PointerTo(v.Type()).Implements(marshaler) {
			return
		}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" && (f.Anonymous || strings.Contains(opts, "inline")) {
				dropUnset(v.Field(i), m)
				continue
			}
			if v.Field(i).Kind() == reflect.Struct && v.Field(i).IsZero() || f.Type == timeType && m[name] == nil {
				delete(m, name)
				continue
			}
			if child, there := m[name]; there {
				if child == nil {
					delete(m, name)
					continue
				}
				dropUnset(v.Field(i), child)
			}
		}
	case reflect.Slice, reflect.Array:
		list, ok := encoded.([]any)
		for i := 0; ok && i < v.Len() && i < len(list); i++ {
			dropUnset(v.Index(i), list[i])
		}
	case reflect.Map:
		m, ok := encoded.(map[string]any)
		if !ok || v.Type().Key().Kind() != reflect.String {
			return
		}
		for _, k := range v.MapKeys() {
			dropUnset(v.MapIndex(k), m[k.String()])
		}
	}
}

// Resource names a key's kind the way API errors do.
func Resource(key object.Key) schema.GroupResource {
	if k, ok := scheme.ForKind(key.GroupKind); ok {
		return k.Resource().GroupResource()
	}
	// As definitions by custom have it.
	plural, _ := meta.UnsafeGuessKindToResource(key.WithVersion(""))
	return plural.GroupResource()
}
