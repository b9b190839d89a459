package support

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// roots are the kinds that the table is about, in the order of the
// documentation. The rest of the API describes (events, leases, endpoints) or
// grants (RBAC), and promises nothing that an agent or a proxy has to keep.
var roots = []reflect.Type{
	typeOf[corev1.Pod](), typeOf[appsv1.Deployment](), typeOf[appsv1.ReplicaSet](), typeOf[corev1.Service](),
	typeOf[corev1.Namespace](), typeOf[corev1.Node](), typeOf[corev1.ConfigMap](), typeOf[corev1.Secret](), typeOf[corev1.ServiceAccount](),
}

// Gaps returns what the table lacks: fields of the API's Go types that are
// neither honoured nor have a rule, types that nobody has reviewed, and names
// that are not fields at all.
func Gaps() []string {
	var gaps []string
	seen := map[reflect.Type]bool{}
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
		honoured := strings.Fields(entry.honoured)
		names := map[string]bool{}
		for f := range t.Fields() {
			_, key := jsonName(f)
			names[key] = true
			rule := entry.rules[key]
			switch {
			case rule == nil && !slices.Contains(honoured, key):
				gaps = append(gaps, fmt.Sprintf("the field %s of %s is neither honoured nor refused", key, t))
			case rule != nil && rule.asks == nil && slices.Contains(honoured, key):
				gaps = append(gaps, fmt.Sprintf("the field %s of %s is honoured and has a rule for all its values", key, t))
			case rule != nil && rule.asks == nil, key == "status":
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
		for name := range entry.rules {
			if !names[name] {
				gaps = append(gaps, fmt.Sprintf("%s has no field %s", t, name))
			}
		}
	}
	for _, root := range roots {
		look(root)
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
		rule      *Rule
	}
	var rows []row
	for t, entry := range table {
		for name, rule := range entry.rules {
			if rule.at != "" {
				name += "." + rule.at
			}
			rows = append(rows, row{t.Name(), name, rule})
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Or(cmp.Compare(a.typ, b.typ), cmp.Compare(a.name, b.name)) })
	for _, r := range rows {
		what := "refused"
		if r.rule.Level == Hint {
			what = "accepted with a warning"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", r.typ, r.name, cmp.Or(r.rule.Values, "all"), what, r.rule.Reason)
	}
	return b.String()
}
