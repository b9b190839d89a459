package load

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	strictjson "sigs.k8s.io/json"

	"headway.dev/manifests/model/fieldpath"
	"headway.dev/manifests/model/object"
)

// fault is what is wrong with one field.
type fault struct{ field, reason string }

// explain names the fields for which raw did not decode strictly into obj. The
// decoder itself gives no path for wrong types, and stops at the first.
func explain(raw []byte, obj object.Object, strict []error, err error) []fault {
	if err == nil {
		var faults []fault
		for _, e := range strict {
			var fe strictjson.FieldError
			if !errors.As(e, &fe) {
				faults = append(faults, fault{reason: e.Error()})
				continue
			}
			reason, _, _ := strings.Cut(fe.Error(), ` "`) // unknown field "spec.x"
			faults = append(faults, fault{fe.FieldPath(), reason})
		}
		return faults
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var value any
	if e := dec.Decode(&value); e != nil {
		return []fault{{reason: e.Error()}}
	}
	var faults []fault
	compare("", value, reflect.TypeOf(obj), func(field, reason string) {
		faults = append(faults, fault{field, reason})
	})
	if len(faults) == 0 {
		return []fault{{reason: err.Error()}}
	}
	return faults
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// compare reports every place where value does not fit type t.
func compare(at string, value any, t reflect.Type, report func(field, reason string)) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if value == nil {
		return
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		raw, err := json.Marshal(value)
		if err == nil {
			err = reflect.New(t).Interface().(json.Unmarshaler).UnmarshalJSON(raw)
		}
		if err != nil {
			report(at, strings.TrimPrefix(err.Error(), "json: "))
		}
		return
	}
	mismatch := func() { report(at, fmt.Sprintf("cannot unmarshal %s into a value of type %s", jsonType(value), t)) }
	switch t.Kind() {
	case reflect.Interface:
	case reflect.Struct:
		m, ok := value.(map[string]any)
		if !ok {
			mismatch()
			return
		}
		fields := map[string]reflect.Type{}
		jsonFields(t, fields)
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if ft, ok := fields[key]; ok {
				compare(fieldpath.Join(at, key), m[key], ft, report)
			} else {
				report(fieldpath.Join(at, key), "unknown field")
			}
		}
	case reflect.Map:
		m, ok := value.(map[string]any)
		if !ok {
			mismatch()
			return
		}
		for _, key := range slices.Sorted(maps.Keys(m)) {
			compare(fieldpath.Join(at, key), m[key], t.Elem(), report)
		}
	case reflect.Slice:
		if s, ok := value.(string); ok && t.Elem().Kind() == reflect.Uint8 {
			if _, err := base64.StdEncoding.DecodeString(s); err != nil {
				report(at, err.Error())
			}
			return
		}
		list, ok := value.([]any)
		if !ok {
			mismatch()
			return
		}
		for i, v := range list {
			compare(at+"["+strconv.Itoa(i)+"]", v, t.Elem(), report)
		}
	default:
		// Scalars: let the decoder judge.
		raw, err := json.Marshal(value)
		if err != nil || json.Unmarshal(raw, reflect.New(t).Interface()) != nil {
			mismatch()
		}
	}
}

// jsonFields collects the JSON names and types of a struct's fields.
func jsonFields(t reflect.Type, into map[string]reflect.Type) {
	for f := range t.Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" || strings.Contains(opts, "inline") {
			ft := f.Type
			for ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			if ft.Kind() == reflect.Struct {
				jsonFields(ft, into)
			}
			continue
		}
		if name != "-" && f.IsExported() {
			if name == "" {
				name = f.Name
			}
			into[name] = f.Type
		}
	}
}

func jsonType(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case json.Number:
		return "number"
	case bool:
		return "bool"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "null"
}
