package diff

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"headway.dev/manifests/model/fieldpath"
	"headway.dev/manifests/model/object"
)

// Field is one difference. Path is kubectl's notation with list items named
// by their merge key: spec.template.spec.containers[name=web].image. Old is
// nil for a field that was added, New for one that was removed.
type Field struct {
	Path string `json:"path"`
	Old  any    `json:"old,omitempty"`
	New  any    `json:"new,omitempty"`
}

// What stands for the values of a Secret.
const (
	hidden  = "(hidden)"
	changed = "(changed)"
)

// HiddenFields is an annotation of Headway on objects that are not Secrets but
// have values that come from one, or from an encrypted file: a JSON list of the
// paths of these fields in the notation of Field, or "*" for the whole object.
// It is kept on the object so that an old value is hidden, too.
const HiddenFields = "headway.dev/hidden-fields"

// Objects lists the differences from old to new in path order, ignoring what
// the server owns (resourceVersion, uid, generation, creationTimestamp, the
// deletion stamps, managedFields, the generation of a DaemonSet's template, status). Either may be nil. Lists without a
// merge key that hold plain values (args) count as one field; if only the order
// of a list with a merge key differs, the field is the list, with its keys as
// values. Values of Secrets, and those that HiddenFields names, come out as
// "(hidden)" and "(changed)", never as themselves.
func Objects(old, new object.Object) []Field {
	w := &walker{hidden: hiddenFields(old, new)}
	_, oldSecret := old.(*corev1.Secret)
	_, newSecret := new.(*corev1.Secret)
	w.secret = oldSecret || newSecret
	return w.walk(old, new)
}

// Status lists the differences of the status of custom resources, which is a field like
// others where it is no subresource.
func Status(old, new *unstructured.Unstructured) []Field {
	var objects []object.Object
	for _, u := range []*unstructured.Unstructured{old, new} {
		if u != nil {
			objects = append(objects, u)
		}
	}
	w := &walker{hidden: hiddenFields(objects...)}
	const path = "status"
	a, b := statusOf(old), statusOf(new)
	if kind := func(v reflect.Value) bool { return !v.IsValid() || v.Kind() == reflect.Map }; kind(a) && kind(b) {
		w.maps(path, a, b)
	} else {
		w.leaf(path, a, b)
	}
	slices.SortStableFunc(w.fields, func(a, b Field) int { return cmp.Compare(a.Path, b.Path) })
	return w.fields
}

func statusOf(u *unstructured.Unstructured) reflect.Value {
	if u == nil || u.Object["status"] == nil {
		return reflect.Value{}
	}
	return reflect.ValueOf(u.Object["status"])
}

// WithSecrets is Objects with the values of Secrets, for callers that have to
// find out what is secret. Its result must not be shown.
func WithSecrets(old, new object.Object) []Field { return (&walker{}).walk(old, new) }

func (w *walker) walk(old, new object.Object) []Field {
	w.compare("", valueOf(old), valueOf(new), "")
	slices.SortStableFunc(w.fields, func(a, b Field) int { return cmp.Compare(a.Path, b.Path) })
	if w.hidden.all {
		// Even the keys of maps and lists may be secret.
		for i := range w.fields {
			w.fields[i].Path = coarse(w.fields[i].Path)
		}
		w.fields = slices.CompactFunc(w.fields, func(a, b Field) bool { return a.Path == b.Path })
	}
	return w.fields
}

// ignored are the fields that the server owns, and those that say what the
// object is, which are the same on both sides.
var ignored = map[string]bool{
	"apiVersion": true, "kind": true, "status": true,
	"metadata.resourceVersion": true, "metadata.uid": true, "metadata.generation": true,
	"metadata.creationTimestamp": true, "metadata.deletionTimestamp": true,
	"metadata.deletionGracePeriodSeconds": true, "metadata.managedFields": true, "metadata.selfLink": true,
	// Which counts the templates of a DaemonSet.
	"metadata.annotations[" + appsv1.DeprecatedTemplateGeneration + "]": true,
}

// walker collects the differences between two values of one type. An invalid
// reflect.Value stands for a value that is absent.
type walker struct {
	fields []Field
	secret bool
	hidden hiddenPaths
}

func valueOf(obj object.Object) reflect.Value {
	if obj == nil {
		return reflect.Value{}
	}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return reflect.ValueOf(u.Object)
	}
	return reflect.ValueOf(obj)
}

var marshaler = reflect.TypeFor[json.Marshaler]()

// compare reports the differences at path; key is the merge key of the items
// if the values are lists.
func (w *walker) compare(path string, old, new reflect.Value, key string) {
	if ignored[path] {
		return
	}
	old, new = deref(old), deref(new)
	t := typeOf(old, new)
	if t == nil {
		return
	}
	if old.IsValid() && new.IsValid() && old.Type() != new.Type() {
		w.leaf(path, old, new)
		return
	}
	switch {
	case t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler):
		w.leaf(path, old, new)
	case t.Kind() == reflect.Struct:
		before := len(w.fields)
		w.structs(path, old, new, t)
		if len(w.fields) == before && old.IsValid() != new.IsValid() && path != "" {
			w.leaf(path, old, new) // emptyDir: {}
		}
	case t.Kind() == reflect.Map:
		w.maps(path, old, new)
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		w.lists(path, old, new, key)
	default:
		w.leaf(path, old, new)
	}
}

func (w *walker) leaf(path string, old, new reflect.Value) {
	if old.IsValid() == new.IsValid() && equality.Semantic.DeepEqual(old.Interface(), new.Interface()) {
		return
	}
	f := Field{Path: path, Old: plain(old), New: plain(new)}
	if w.secret && isSecretValue(path) || w.hidden.covers(path) {
		if old.IsValid() {
			f.Old = hidden
		}
		if new.IsValid() {
			f.New = changed
		}
	}
	w.fields = append(w.fields, f)
}

// isSecretValue tells the parts of a Secret that hold its values; the
// annotation is a copy of the whole that kubectl apply leaves behind.
func isSecretValue(path string) bool {
	return strings.HasPrefix(path, "data") || strings.HasPrefix(path, "stringData") ||
		path == "metadata.annotations["+corev1.LastAppliedConfigAnnotation+"]"
}

func (w *walker) structs(path string, old, new reflect.Value, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		a, b := field(old, i), field(new, i)
		if f.Anonymous && name == "" || strings.Contains(opts, "inline") {
			w.compare(path, a, b, "")
			continue
		}
		if name == "-" || !f.IsExported() {
			continue
		}
		// A zero value is what a missing field is, unless it is pointed to.
		if a.IsValid() && a.IsZero() {
			a = reflect.Value{}
		}
		if b.IsValid() && b.IsZero() {
			b = reflect.Value{}
		}
		w.compare(fieldpath.Join(path, cmp.Or(name, f.Name)), a, b, f.Tag.Get("patchMergeKey"))
	}
}

func (w *walker) maps(path string, old, new reflect.Value) {
	keys := map[string]reflect.Value{}
	for _, v := range []reflect.Value{old, new} {
		if v.IsValid() {
			for _, k := range v.MapKeys() {
				keys[k.String()] = k
			}
		}
	}
	at := func(v, k reflect.Value) reflect.Value {
		if !v.IsValid() {
			return v
		}
		return v.MapIndex(k)
	}
	for name, k := range keys {
		w.compare(fieldpath.Join(path, name), at(old, k), at(new, k), "")
	}
}

func typeOf(values ...reflect.Value) reflect.Type {
	for _, v := range values {
		if v.IsValid() {
			return v.Type()
		}
	}
	return nil
}

func deref(v reflect.Value) reflect.Value {
	for v.IsValid() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) {
		v = v.Elem() // invalid for nil
	}
	return v
}

func field(v reflect.Value, i int) reflect.Value {
	if !v.IsValid() {
		return v
	}
	return v.Field(i)
}

// plain is a value as JSON has it.
func plain(v reflect.Value) any {
	if !v.IsValid() {
		return nil
	}
	raw, err := json.Marshal(v.Interface())
	if err != nil {
		return v.Interface()
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		return v.Interface()
	}
	return out
}
