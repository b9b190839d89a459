package object

import (
	"encoding/json"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"
)

// AppendJSON appends the JSON of a value without a Go type, as unstructured objects
// contain, to dst: the same bytes as json.Marshal makes, without its reflection.
func AppendJSON(dst []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case nil:
		return append(dst, "null"...), nil
	case string:
		return appendString(dst, v), nil
	case map[string]any:
		return appendMap(dst, v)
	case []any:
		return appendList(dst, v)
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	}
	// Floats, and what only programs put there.
	data, err := json.Marshal(value)
	return append(dst, data...), err
}

func appendList(dst []byte, list []any) ([]byte, error) {
	if list == nil {
		return append(dst, "null"...), nil
	}
	dst = append(dst, '[')
	var err error
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = AppendJSON(dst, v); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// fieldNames are slices of names in use again and again.
var fieldNames = sync.Pool{New: func() any { return new([]string) }}

func appendMap(dst []byte, fields map[string]any) ([]byte, error) {
	if fields == nil {
		return append(dst, "null"...), nil
	}
	names := fieldNames.Get().(*[]string)
	defer func() {
		clear(*names) // the names may be long
		*names = (*names)[:0]
		fieldNames.Put(names)
	}()
	for name := range fields {
		*names = append(*names, name)
	}
	slices.Sort(*names)
	dst = append(dst, '{')
	var err error
	for i, name := range *names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		if dst, err = AppendJSON(dst, fields[name]); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// appendString leaves it to json.Marshal to escape what has to be.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			data, _ := json.Marshal(s) // which cannot fail for a string
			return append(dst, data...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
