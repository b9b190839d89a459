// Package support says which fields of the API have their effect.
//
// Each kind lists every field of its types (kind.Definition.Honours): those that
// are honoured by name, the others each with an honour.Rule. A field that
// would break a promise if it were ignored (of security, of a limit, of a
// place to run) is refused; one that only prefers or describes is a hint,
// which is accepted with a warning. A test walks the Go types and fails on a
// field that no kind names, so that a new version of the API cannot
// bring fields that are silently ignored. docs/api-compatibility.md is made
// from the same lists.
//
//	support.Refusals(obj, nil) // for a new object
//	support.Warnings(obj)
//
// All of it is pure and safe for concurrent use. What it costs is proportional
// to the fields that have a rule, not to the size of the types.
package support

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/scheme"
)

// table has every type that a manifest's fields lead to, by its Go type: what
// all kinds say of themselves. Types that are not in it are taken whole.
var table = func() honour.Types {
	all := honour.Types{}
	for _, k := range scheme.Kinds() {
		maps.Copy(all, k.Honours)
	}
	return all
}()

// Refusals returns an error for each field of obj that is refused, with the
// path and in the form of the API's own validation. What old, which may be nil,
// asks for as well is accepted: an object that was accepted once can still be
// changed.
func Refusals(obj, old runtime.Object) field.ErrorList {
	had := map[*honour.Rule]bool{}
	if old != nil {
		walk(old, func(_ *field.Path, rule *honour.Rule) { had[rule] = true })
	}
	var errs field.ErrorList
	walk(obj, func(path *field.Path, rule *honour.Rule) {
		if rule.Level == honour.Refused && !had[rule] {
			errs = append(errs, field.Forbidden(path, "not supported yet: "+rule.Reason))
		}
	})
	return errs
}

// Warning is a field that is set but has no effect.
type Warning struct {
	Field, Reason string
}

// String is the text that the API sends to its clients.
func (w Warning) String() string {
	return fmt.Sprintf("%s: not supported yet and without effect: %s", w.Field, w.Reason)
}

// Warnings returns the fields of obj that are accepted but have no effect.
func Warnings(obj runtime.Object) []Warning {
	var warnings []Warning
	walk(obj, func(path *field.Path, rule *honour.Rule) {
		if rule.Level == honour.Hint {
			warnings = append(warnings, Warning{Field: path.String(), Reason: rule.Reason})
		}
	})
	return warnings
}

// node is what there is to look at in one struct type.
type node struct {
	rules    []ruleAt
	children []child
}

type ruleAt struct {
	index int
	name  string
	rule  *honour.Rule
}

// child is a field that leads to further rules.
type child struct {
	index int
	name  string // empty: an embedded struct, whose fields are the parent's
	node  *node
}

// nodes are made at first use, one for each type: *node by reflect.Type.
var nodes sync.Map

func nodeOf(t reflect.Type) *node {
	if n, ok := nodes.Load(t); ok {
		return n.(*node)
	}
	n := &node{}
	entry := table[t]
	for i := range t.NumField() {
		f := t.Field(i)
		name, key := jsonName(f)
		if rule := entry.Rules[key]; rule != nil {
			n.rules = append(n.rules, ruleAt{i, name, rule})
			if rule.Asks == nil {
				continue // what is refused whole has nothing to look at within
			}
		}
		if inner := structOf(f.Type); inner != nil && key != "status" {
			if below := nodeOf(inner); len(below.rules)+len(below.children) > 0 {
				n.children = append(n.children, child{i, name, below})
			}
		}
	}
	nodes.Store(t, n)
	return n
}

// jsonName is a field's name in manifests, empty if it is embedded, and the
// name under which the table has it.
func jsonName(f reflect.StructField) (name, key string) {
	name, _, _ = strings.Cut(f.Tag.Get("json"), ",")
	if name == "" {
		return "", f.Name
	}
	return name, name
}

// structOf is the struct type of the table that a field leads to, or nil.
func structOf(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if _, ok := table[t]; ok {
		return t
	}
	return nil
}

func walk(obj runtime.Object, found func(*field.Path, *honour.Rule)) {
	v := reflect.ValueOf(obj)
	if v.Kind() != reflect.Pointer || v.IsNil() || structOf(v.Type()) == nil {
		return
	}
	nodeOf(v.Type().Elem()).walk(v.Elem(), nil, found)
}

// place is the way to a struct, kept on the stack: a path is made of it only
// where a rule holds.
type place struct {
	parent *place
	name   string
	index  int // -1: not an element of a list
}

func (p *place) path() *field.Path {
	if p == nil {
		return nil
	}
	path := p.parent.path()
	if p.name != "" {
		path = path.Child(p.name)
	}
	if p.index >= 0 {
		path = path.Index(p.index)
	}
	return path
}

// unset reports whether a field says nothing: charts write [] and {} for lists and maps
// without entries.
func unset(v reflect.Value) bool {
	if v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
		return v.Len() == 0
	}
	return v.IsZero()
}

func (n *node) walk(v reflect.Value, at *place, found func(*field.Path, *honour.Rule)) {
	for i := range n.rules {
		r := &n.rules[i]
		if r.rule.Asks == nil && unset(v.Field(r.index)) || r.rule.Asks != nil && !r.rule.Asks(v) {
			continue
		}
		path := at.path().Child(r.name)
		if r.rule.At != "" {
			path = path.Child(r.rule.At)
		}
		found(path, r.rule)
	}
	for i := range n.children {
		c := &n.children[i]
		c.node.enter(v.Field(c.index), at, c.name, found)
	}
}

func (n *node) enter(v reflect.Value, at *place, name string, found func(*field.Path, *honour.Rule)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			n.enter(v.Elem(), at, name, found)
		}
	case reflect.Slice:
		for i := range v.Len() {
			n.walk(v.Index(i), &place{at, name, i}, found)
		}
	default:
		n.walk(v, &place{at, name, -1}, found)
	}
}
