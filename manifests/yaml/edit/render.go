package edit

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	syaml "sigs.k8s.io/yaml"
)

// style is how a document is indented.
type style struct {
	step  int // of a mapping in a mapping
	items int // of a sequence in a mapping
	json  bool
}

// entry writes "key: value" in block style at an indentation, without the
// first line's own.
func (s style) entry(indent int, key string, value any, eol string) string {
	name := s.scalar(key, false)
	switch v := value.(type) {
	case map[string]any:
		if len(v) > 0 {
			pad := indent + s.step
			return name + ":" + eol + strings.Repeat(" ", pad) + s.block(pad, v, eol)
		}
	case []any:
		if len(v) > 0 {
			pad := indent + s.items
			return name + ":" + eol + strings.Repeat(" ", pad) + s.block(pad, v, eol)
		}
	case string:
		if strings.Contains(v, "\n") && literal(v) {
			return name + ": " + s.literal(indent+s.step, v, eol)
		}
	}
	return name + ": " + s.flow(value)
}

func (s style) literal(indent int, value, eol string) string {
	var b strings.Builder
	b.WriteString("|" + chomping(value))
	for line := range strings.SplitSeq(strings.TrimRight(value, "\n"), "\n") {
		b.WriteString(eol)
		if line != "" {
			b.WriteString(strings.Repeat(" ", indent) + line)
		}
	}
	return b.String()
}

// block writes a value in block style, its first line without indentation.
func (s style) block(indent int, value any, eol string) string {
	var lines []string
	switch v := value.(type) {
	case map[string]any:
		for _, key := range keys(v) {
			lines = append(lines, s.entry(indent, key, v[key], eol))
		}
	case []any:
		for _, item := range v {
			lines = append(lines, s.item(indent, item, eol))
		}
	}
	if len(lines) == 0 {
		return s.flow(value)
	}
	return strings.Join(lines, eol+strings.Repeat(" ", indent))
}

// item writes an item of a block sequence whose dash is at the indentation.
func (s style) item(indent int, value any, eol string) string {
	if text, ok := value.(string); ok && strings.Contains(text, "\n") && literal(text) {
		return "- " + s.literal(indent+2, text, eol)
	}
	return "- " + s.block(indent+2, value, eol)
}

// flow writes a value on one line.
func (s style) flow(value any) string {
	switch v := value.(type) {
	case map[string]any:
		parts := make([]string, 0, len(v))
		for _, key := range keys(v) {
			parts = append(parts, s.scalar(key, true)+": "+s.flow(v[key]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		parts := make([]string, 0, len(v))
		for _, item := range v {
			parts = append(parts, s.flow(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return s.scalar(value, true)
}

// scalar writes a scalar plain if that can be misread by no version of YAML,
// else in double quotes. flow says that it may stand in a flow collection.
func (s style) scalar(value any, flow bool) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		raw, err := json.Marshal(v)
		if err != nil { // not a number, which JSON does not know
			return "null"
		}
		return string(raw)
	case string:
		if !s.json && plain(v, flow) {
			return v
		}
		return doubleQuoted(v)
	}
	return ""
}

// plain reports whether the string can stand without quotes, and is the same string
// to every parser.
func plain(s string, flow bool) bool {
	if s == "" || !printable(s, false) || strings.TrimSpace(s) != s || strings.Contains(s, "\t") {
		return false
	}
	// Dates and sexagesimal numbers are no strings in YAML 1.1.
	if c := s[0]; c >= '0' && c <= '9' && strings.ContainsAny(s, ":-") && strings.Trim(s, "0123456789:-. TZ") == "" {
		return false
	}
	forms := map[string]any{"- " + s + "\n": []any{s}, s + ": x\n": map[string]any{s: "x"}}
	if flow {
		forms["["+s+", x]\n"] = []any{s, "x"}
		forms["{"+s+": "+s+"}\n"] = map[string]any{s: s}
	}
	for doc, want := range forms {
		var v2, v3 any
		if syaml.Unmarshal([]byte(doc), &v2) != nil || yaml.Unmarshal([]byte(doc), &v3) != nil ||
			!reflect.DeepEqual(v2, want) || !reflect.DeepEqual(v3, want) {
			return false
		}
	}
	return true
}

// singleQuoted is the value in single quotes, if it can be written so.
func singleQuoted(s string) (string, bool) {
	if !printable(s, false) || strings.Contains(s, "\t") {
		return "", false
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'", true
}

func doubleQuoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case !printable(string(r), false):
			const hex = "0123456789abcdef"
			b.WriteString(`\u`)
			for shift := 12; shift >= 0; shift -= 4 {
				b.WriteByte(hex[r>>shift&15])
			}
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// keys are a mapping's keys in the order in which people write them.
func keys(m map[string]any) []string {
	rank := func(k string) int {
		if i := slices.Index([]string{"apiVersion", "kind", "metadata", "name"}, k); i >= 0 {
			return i
		}
		return 9
	}
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		if x, y := rank(a), rank(b); x != y {
			return x - y
		}
		return strings.Compare(a, b)
	})
}
