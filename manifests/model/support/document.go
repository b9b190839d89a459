package support

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/scheme"
)

// Gaps returns what the table lacks: fields of the API's Go types that are
// neither honoured nor have a rule, types that nobody has reviewed, or that two
// kinds have, and names that are not fields at all.
func Gaps() []string {
	var gaps []string
	seen, told := map[reflect.Type]bool{}, map[reflect.Type]bool{}
	var look func(t reflect.Type)
	look = func(t reflect.Type) {
		if seen[t] {
			return
		}
		seen[t] = true
		entry, ok := table[t]
		if !ok {
			gaps = append(gaps, fmt.Sprintf("the type %s is not in the table", t))
			return
		}
		honoured := strings.Fields(entry.Honoured)
		names := map[string]bool{}
		for f := range t.Fields() {
			_, key := jsonName(f)
			names[key] = true
			rule := entry.Rules[key]
			switch {
			case rule == nil && !slices.Contains(honoured, key):
				gaps = append(gaps, fmt.Sprintf("the field %s of %s is neither honoured nor refused", key, t))
			case rule != nil && rule.Asks == nil && slices.Contains(honoured, key):
				gaps = append(gaps, fmt.Sprintf("the field %s of %s is honoured and has a rule for all its values", key, t))
			case rule != nil && rule.Asks == nil, key == "status":
			default:
				if inner := elem(f.Type); inner.Kind() == reflect.Struct && strings.HasPrefix(inner.PkgPath(), "k8s.io/api/") {
					look(inner)
				}
			}
		}
		for _, name := range honoured {
			if !names[name] {
				gaps = append(gaps, fmt.Sprintf("%s has no field %s", t, name))
			}
		}
		for name := range entry.Rules {
			if !names[name] {
				gaps = append(gaps, fmt.Sprintf("%s has no field %s", t, name))
			}
		}
	}
	for _, k := range scheme.Kinds() {
		for t := range k.Honours {
			if told[t] {
				gaps = append(gaps, fmt.Sprintf("two kinds have the type %s", t))
			}
			told[t] = true
		}
		if k.Honours != nil {
			look(reflect.TypeOf(k.New()).Elem())
		}
	}
	for t := range table {
		if !seen[t] {
			gaps = append(gaps, fmt.Sprintf("the type %s is in the table, but no manifest leads to it", t))
		}
	}
	slices.Sort(gaps)
	return gaps
}

func elem(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return t
}

// Markdown returns the table of the fields with a rule, for the documentation.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| type | field | values | what happens | why |\n|---|---|---|---|---|\n")
	type row struct {
		typ, name string
		rule      *honour.Rule
	}
	var rows []row
	for t, entry := range table {
		for name, rule := range entry.Rules {
			if rule.At != "" {
				name += "." + rule.At
			}
			rows = append(rows, row{t.Name(), name, rule})
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Or(cmp.Compare(a.typ, b.typ), cmp.Compare(a.name, b.name)) })
	for _, r := range rows {
		what := "refused"
		if r.rule.Level == honour.Hint {
			what = "accepted with a warning"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", r.typ, r.name, cmp.Or(r.rule.Values, "all"), what, r.rule.Reason)
	}
	return b.String()
}
