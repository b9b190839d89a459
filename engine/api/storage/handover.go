package storage

import (
	"maps"
	"math"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Handover is the codec of custom resources below the library's, which sets defaults and
// drops fields: JSON, or an object of this process, of which the library gets a copy in
// the place of what it would decode.
type Handover struct {
	runtime.Codec
	// objects by the address of what stands for their encoding.
	objects sync.Map // *byte to *unstructured.Unstructured
}

// NewHandover returns a codec for Options.Codec.
func NewHandover() *Handover { return &Handover{Codec: unstructured.UnstructuredJSONScheme} }

// Decode implements runtime.Decoder.
func (h *Handover) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if len(data) == 1 && into == nil {
		if u, ok := h.objects.Load(&data[0]); ok {
			out := u.(*unstructured.Unstructured).DeepCopy()
			gvk := out.GroupVersionKind()
			return out, &gvk, nil
		}
	}
	return h.Codec.Decode(data, defaults, into)
}

// through returns what codec, which the library has made of h, decodes in the place of u.
func (h *Handover) through(codec runtime.Codec, u *unstructured.Unstructured) (runtime.Object, error) {
	data := make([]byte, 1)
	h.objects.Store(&data[0], u)
	defer h.objects.Delete(&data[0])
	out, _, err := codec.Decode(data, nil, nil)
	return out, err
}

// content returns what a version shows of a stored object of that version beside its
// metadata. It is false if the encoding of the object, or of its metadata, would be
// decoded as anything else.
func (v *versioned) content(u *unstructured.Unstructured) (*unstructured.Unstructured, bool) {
	meta, ok := u.Object["metadata"].(map[string]any)
	if v.handover == nil || !ok || u.Object["apiVersion"] != v.version || !settled(meta) || !plain(u.Object) {
		return nil, false
	}
	// The library decodes and encodes metadata again and again; these are few.
	few := map[string]any{"name": "x", "generation": int64(1)}
	handed := &unstructured.Unstructured{Object: maps.Clone(u.Object)}
	handed.Object["metadata"] = few
	out, err := v.handover.through(v.codec, handed)
	form, ok := out.(*unstructured.Unstructured)
	if err != nil || !ok || !equal(form.Object["metadata"], few) {
		return nil, false
	}
	form.Object["metadata"] = meta
	return form, true
}

// plain reports whether the JSON of a value is decoded as the same value.
func plain(value any) bool {
	switch v := value.(type) {
	case nil, bool, int64:
		return true
	case string:
		return utf8.ValidString(v)
	case float64:
		// A whole number is decoded as an integer.
		return v != math.Trunc(v) && !math.IsNaN(v)
	case map[string]any:
		for name, value := range v {
			if !utf8.ValidString(name) || !plain(value) {
				return false
			}
		}
		return v != nil
	case []any:
		return v != nil && !slices.ContainsFunc(v, func(value any) bool { return !plain(value) })
	}
	return false
}

// equal compares plain values.
func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name, value := range a {
			if other, ok := b[name]; !ok || !equal(value, other) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

// settled reports whether metadata is as the library encodes what it has decoded of it.
func settled(meta map[string]any) bool {
	for name, value := range meta {
		ok := false
		switch name {
		case "name", "namespace", "generateName", "uid", "resourceVersion", "selfLink":
			ok = filled(value)
		case "generation":
			n, is := value.(int64)
			ok = is && n > 0
		case "creationTimestamp", "deletionTimestamp":
			ok = moment(value)
		case "deletionGracePeriodSeconds":
			_, ok = value.(int64)
		case "labels", "annotations":
			ok = ofStrings(value)
		case "finalizers":
			ok = each(value, func(v any) bool { _, ok := v.(string); return ok })
		case "ownerReferences":
			ok = each(value, func(v any) bool { return settledOwner(v) })
		case "managedFields":
			ok = each(value, func(v any) bool { return settledManager(v) })
		}
		if !ok {
			return false
		}
	}
	// Without a generation it is repaired.
	return meta["generation"] != nil && meta["creationTimestamp"] != nil
}

func settledOwner(value any) bool {
	owner, ok := value.(map[string]any)
	if !ok {
		return false
	}
	for name, value := range owner {
		switch name {
		case "apiVersion", "kind", "name", "uid":
			_, ok = value.(string)
		case "controller", "blockOwnerDeletion":
			_, ok = value.(bool)
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	return owner["apiVersion"] != nil && owner["kind"] != nil && owner["name"] != nil && owner["uid"] != nil
}

func settledManager(value any) bool {
	manager, ok := value.(map[string]any)
	if !ok {
		return false
	}
	for name, value := range manager {
		switch name {
		case "manager", "operation", "apiVersion", "fieldsType", "subresource":
			ok = filled(value)
		case "time":
			ok = moment(value)
		case "fieldsV1":
			_, ok = value.(map[string]any)
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	return true
}

// filled reports whether a value is a string that is not left out.
func filled(value any) bool {
	s, ok := value.(string)
	return ok && s != ""
}

// moment reports whether a value is a time as metav1.Time writes it.
func moment(value any) bool {
	s, ok := value.(string)
	if !ok {
		return false
	}
	t, err := time.Parse(time.RFC3339, s)
	return err == nil && !t.IsZero() && t.UTC().Format(time.RFC3339) == s
}

func ofStrings(value any) bool {
	fields, ok := value.(map[string]any)
	for _, v := range fields {
		if _, is := v.(string); !is {
			return false
		}
	}
	return ok && len(fields) > 0
}

func each(value any, is func(any) bool) bool {
	list, ok := value.([]any)
	return ok && len(list) > 0 && !slices.ContainsFunc(list, func(v any) bool { return !is(v) })
}
