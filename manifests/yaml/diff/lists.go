package diff

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// lists matches the items by their names: those that the merge key gives, or
// else those of a field that usually is one (conditions have a type), or else
// their indexes.
func (w *walker) lists(path string, old, new reflect.Value, key string) {
	oldItems, newItems := items(old), items(new)
	elem := typeOf(old, new).Elem()
	for elem.Kind() == reflect.Pointer {
		elem = elem.Elem()
	}
	if elem.Kind() != reflect.Struct && elem.Kind() != reflect.Interface {
		w.leaf(path, old, new)
		return
	}
	for _, keys := range [][]string{{key}, {key, "protocol"}, {"name"}, {"type"}} {
		oldNames, okOld := names(oldItems, keys)
		newNames, okNew := names(newItems, keys)
		if keys[0] == "" || !okOld || !okNew {
			continue
		}
		w.named(path, oldItems, newItems, oldNames, newNames)
		return
	}
	for i := range max(len(oldItems), len(newItems)) {
		w.compare(path+"["+strconv.Itoa(i)+"]", at(oldItems, i), at(newItems, i), "")
	}
}

func (w *walker) named(path string, oldItems, newItems []reflect.Value, oldNames, newNames []string) {
	for i, name := range oldNames {
		w.compare(path+"["+name+"]", oldItems[i], at(newItems, slices.Index(newNames, name)), "")
	}
	for i, name := range newNames {
		if !slices.Contains(oldNames, name) {
			w.compare(path+"["+name+"]", reflect.Value{}, newItems[i], "")
		}
	}
	common := func(names, other []string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !slices.Contains(other, n) })
	}
	if o, n := common(oldNames, newNames), common(newNames, oldNames); !slices.Equal(o, n) {
		w.fields = append(w.fields, Field{Path: path, Old: o, New: n})
	}
}

func items(v reflect.Value) []reflect.Value {
	if !v.IsValid() {
		return nil
	}
	out := make([]reflect.Value, v.Len())
	for i := range out {
		out[i] = deref(v.Index(i))
	}
	return out
}

func at(items []reflect.Value, i int) reflect.Value {
	if i < 0 || i >= len(items) {
		return reflect.Value{}
	}
	return items[i]
}

// names gives each item its "key=value" pairs; it fails if an item lacks a key
// or two items have the same.
func names(items []reflect.Value, keys []string) ([]string, bool) {
	var out []string
	for _, item := range items {
		var pairs []string
		for _, key := range keys {
			value := deref(jsonField(item, key))
			if !value.IsValid() || key != "protocol" && value.IsZero() {
				return nil, false
			}
			pairs = append(pairs, fmt.Sprintf("%s=%v", key, value.Interface()))
		}
		name := strings.Join(pairs, ",")
		if slices.Contains(out, name) {
			return nil, false
		}
		out = append(out, name)
	}
	return out, true
}

// jsonField is the field of a struct, or the entry of a map, of that name.
func jsonField(v reflect.Value, name string) reflect.Value {
	switch v.Kind() {
	case reflect.Map:
		return v.MapIndex(reflect.ValueOf(name))
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			tag, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			if tag == name {
				return v.Field(i)
			}
			if f.Anonymous && tag == "" || strings.Contains(opts, "inline") {
				if found := jsonField(deref(v.Field(i)), name); found.IsValid() {
					return found
				}
			}
		}
	default:
	}
	return reflect.Value{}
}
