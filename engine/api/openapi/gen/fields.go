package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/constant"
	"go/types"
	"reflect"
	"strings"

	"k8s.io/kube-openapi/pkg/validation/spec"
)

// special are the types whose JSON is not that of their Go structure.
var special = map[string]spec.Schema{
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":                                             typed("string", "date-time"),
	"k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime":                                        typed("string", "date-time"),
	"k8s.io/apimachinery/pkg/apis/meta/v1.Duration":                                         typed("string", ""),
	"k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1":                                         typed("object", ""),
	"k8s.io/apimachinery/pkg/apis/meta/v1.Patch":                                            typed("object", ""),
	"k8s.io/apimachinery/pkg/api/resource.Quantity":                                         typed("string", ""),
	"k8s.io/apimachinery/pkg/util/intstr.IntOrString":                                       typed("string", "int-or-string"),
	"k8s.io/apimachinery/pkg/runtime.RawExtension":                                          typed("object", ""),
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSON":                         {},
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrArray":       {},
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrBool":        {},
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrStringArray": {},
}

func typed(typ, format string) spec.Schema {
	return spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{typ}, Format: format}}
}

func (g *generator) fields(owner *types.Named, st *types.Struct, into *spec.Schema) error {
	for i := range st.NumFields() {
		field := st.Field(i)
		tag := reflect.StructTag(st.Tag(i))
		name, options, _ := strings.Cut(tag.Get("json"), ",")
		if name == "-" || !field.Exported() {
			continue
		}
		if field.Embedded() && name == "" {
			embedded, inner, err := structOf(field.Type())
			if err != nil {
				return err
			}
			if err := g.fields(embedded, inner, into); err != nil {
				return err
			}
			continue
		}
		if name == "" {
			name = field.Name()
		}
		doc := parseDoc(g.docs[owner.Obj().Pkg().Path()+"."+owner.Obj().Name()+"."+field.Name()])
		s, err := g.schema(field.Type())
		if err != nil {
			return fmt.Errorf("field %s: %w", field.Name(), err)
		}
		s.Description = doc.text
		annotate(&s, doc, tag)
		omitted := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		if s.Default = defaultOf(doc, field.Pkg()); s.Default == nil {
			s.Default = enforced(field.Type(), omitted)
		}
		into.Properties[name] = s
		_, optional := doc.markers["optional"]
		if _, ok := doc.markers["kubebuilder:validation:Optional"]; ok {
			optional = true
		}
		_, required := doc.markers["required"]
		if required || !optional && !omitted {
			into.Required = append(into.Required, name)
		}
	}
	return nil
}

// union describes a struct of which one field is set, as another may say.
func (g *generator) union(owner string, st *types.Struct) map[string]any {
	u, members := map[string]any{}, map[string]any{}
	for i := range st.NumFields() {
		name, _, _ := strings.Cut(reflect.StructTag(st.Tag(i)).Get("json"), ",")
		if _, ok := parseDoc(g.docs[owner+"."+st.Field(i).Name()]).markers["unionDiscriminator"]; ok {
			u["discriminator"] = name
		} else {
			members[name] = st.Field(i).Name()
		}
	}
	u["fields-to-discriminateBy"] = members
	return u
}

func structOf(t types.Type) (*types.Named, *types.Struct, error) {
	t = types.Unalias(t)
	if p, ok := t.(*types.Pointer); ok {
		t = types.Unalias(p.Elem())
	}
	named, ok := t.(*types.Named)
	if !ok {
		return nil, nil, fmt.Errorf("embedded %s has no name", t)
	}
	st, ok := named.Underlying().(*types.Struct)
	if !ok {
		return nil, nil, fmt.Errorf("embedded %s is no struct", t)
	}
	return named, st, nil
}

// annotate adds what tags and markers say about merging.
func annotate(s *spec.Schema, doc comment, tag reflect.StructTag) {
	for _, key := range []string{"patchStrategy", "patchMergeKey"} {
		if v := tag.Get(key); v != "" {
			s.AddExtension("x-kubernetes-"+map[string]string{"patchStrategy": "patch-strategy", "patchMergeKey": "patch-merge-key"}[key], v)
		}
	}
	if v := doc.markers["listType"]; v != "" {
		s.AddExtension("x-kubernetes-list-type", v)
	}
	if len(doc.listMapKeys) > 0 {
		keys := make([]any, len(doc.listMapKeys))
		for i, k := range doc.listMapKeys {
			keys[i] = k
		}
		s.AddExtension("x-kubernetes-list-map-keys", keys)
	}
	for _, marker := range []string{"mapType", "structType"} {
		if v := doc.markers[marker]; v != "" {
			s.AddExtension("x-kubernetes-map-type", v)
		}
	}
}

// defaultOf reads a field's default from its marker, which is JSON or refers to a
// constant.
func defaultOf(doc comment, pkg *types.Package) any {
	marker := doc.markers["default"]
	var value any
	if json.Unmarshal([]byte(marker), &value) == nil {
		return value
	}
	name, ok := strings.CutPrefix(marker, "ref(")
	if c, isConst := pkg.Scope().Lookup(strings.TrimSuffix(name, ")")).(*types.Const); ok && isConst {
		return constant.StringVal(c.Val())
	}
	return nil
}

// enforced is what a field is that nobody sets, if it is written nevertheless.
func enforced(t types.Type, omitted bool) any {
	t = types.Unalias(t)
	if named, ok := t.(*types.Named); ok {
		if method, _, _ := types.LookupFieldOrMethod(types.NewPointer(named), true, nil, "UnmarshalJSON"); method != nil {
			return nil
		}
	}
	switch u := t.Underlying().(type) {
	case *types.Struct:
		if u.NumFields() == 1 && u.Field(0).Embedded() {
			return enforced(u.Field(0).Type(), omitted)
		}
		return map[string]any{}
	case *types.Basic:
		switch info := u.Info(); {
		case omitted:
		case info&types.IsString != 0:
			return ""
		case info&types.IsBoolean != 0:
			return false
		case info&types.IsNumeric != 0:
			return 0
		}
	}
	return nil
}

// schema describes a field's type.
func (g *generator) schema(t types.Type) (spec.Schema, error) {
	switch t := types.Unalias(t).(type) {
	case *types.Pointer:
		return g.schema(t.Elem())
	case *types.Basic:
		return basic(t)
	case *types.Slice:
		if b, ok := types.Unalias(t.Elem()).(*types.Basic); ok && b.Kind() == types.Byte {
			return typed("string", "byte"), nil
		}
		elem, err := g.schema(t.Elem())
		return spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"array"}, Items: &spec.SchemaOrArray{Schema: &elem}}}, err
	case *types.Map:
		elem, err := g.schema(t.Elem())
		return spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}, AdditionalProperties: &spec.SchemaOrBool{Allows: true, Schema: &elem}}}, err
	case *types.Named:
		if _, ok := t.Underlying().(*types.Struct); !ok {
			return g.schema(t.Underlying())
		}
		name, err := g.define(t)
		if err != nil {
			return spec.Schema{}, err
		}
		return spec.Schema{SchemaProps: spec.SchemaProps{Ref: spec.MustCreateRef("#/definitions/" + name)}}, nil
	case *types.Interface:
		return spec.Schema{}, nil
	}
	return spec.Schema{}, fmt.Errorf("type %s has no schema", t)
}

func basic(t *types.Basic) (spec.Schema, error) {
	switch t.Kind() { //nolint:exhaustive // the rest has no JSON form
	case types.String:
		return typed("string", ""), nil
	case types.Bool:
		return typed("boolean", ""), nil
	case types.Int, types.Int8, types.Int16, types.Int32, types.Uint8, types.Uint16, types.Uint32:
		return typed("integer", "int32"), nil
	case types.Int64, types.Uint64, types.Uint:
		return typed("integer", "int64"), nil
	case types.Float32, types.Float64:
		return typed("number", "double"), nil
	}
	return spec.Schema{}, fmt.Errorf("type %s has no schema", t)
}

// comment is a doc comment split into what is for people and what is for
// generators.
type comment struct {
	text        string
	markers     map[string]string
	listMapKeys []string
}

func parseDoc(group *ast.CommentGroup) comment {
	c := comment{markers: map[string]string{}}
	if group == nil {
		return c
	}
	var paragraphs []string
	var lines []string
	flush := func() {
		if len(lines) > 0 {
			paragraphs = append(paragraphs, strings.Join(lines, " "))
		}
		lines = nil
	}
	text := true
	for line := range strings.SplitSeq(group.Text(), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "+"):
			key, value, _ := strings.Cut(line[1:], "=")
			if key == "listMapKey" {
				c.listMapKeys = append(c.listMapKeys, value)
			} else {
				c.markers[key] = value
			}
		case line == "---":
			// What follows is for maintainers.
			text = false
		case !text || strings.HasPrefix(line, "TODO"):
		case line == "":
			flush()
		default:
			lines = append(lines, line)
		}
	}
	flush()
	c.text = strings.Join(paragraphs, "\n\n")
	return c
}
