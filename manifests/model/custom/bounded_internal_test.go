package custom

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/yaml"

	"headway.dev/manifests/model/rule"
)

// version is the one version of a definition with a schema.
func version(t *testing.T, schema string) *Version {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"}}
	crd.Spec.Group, crd.Spec.Scope = "example.com", apiextensionsv1.NamespaceScoped
	crd.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Kind: "Widget", ListKind: "WidgetList"}
	v := apiextensionsv1.CustomResourceDefinitionVersion{
		Name: "v1", Served: true, Storage: true, Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
		Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{}},
	}
	if err := yaml.Unmarshal([]byte(schema), v.Schema.OpenAPIV3Schema); err != nil {
		t.Fatal(err)
	}
	crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{v}
	made, ok := New(crd).Version("v1")
	if !ok {
		t.Fatal("no version")
	}
	if err := made.Compile(); err != nil {
		t.Fatal(err)
	}
	return made
}

func widget(spec, status any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"namespace": "default", "name": "w"}, "spec": spec,
	}}
	if status != nil {
		u.Object["status"] = status
	}
	return u
}

func filled(n int, value any) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = value
	}
	return list
}

const everything = `
type: object
properties:
  spec:
    type: object
    required: [size]
    properties:
      size: {type: integer, minimum: 1, maximum: 9}
      name: {type: string, pattern: "^[a-z]+$", maxLength: 5, enum: [a, b, abc]}
      port: {x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}], minimum: 2}
      maybe: {type: string, nullable: true}
      list: {type: array, maxItems: 3, items: {type: object, required: [a], properties: {a: {type: integer}, b: {type: boolean}}}}
      map: {type: object, maxProperties: 3, additionalProperties: {type: integer, multipleOf: 2}}
      free: {type: object, x-kubernetes-preserve-unknown-fields: true}
    oneOf:
    - required: [name]
    - required: [port]
    allOf:
    - properties: {size: {maximum: 7}}
    - not: {required: [free]}
  status: {type: object, properties: {list: {type: array, items: {type: integer}}}}
`

// TestAsTheLibrary: value by value there are the same mistakes as all at once.
func TestAsTheLibrary(t *testing.T) {
	c, err := version(t, everything).compiled.get()
	if err != nil {
		t.Fatal(err)
	}
	whole := c.validator.(bounded)
	r := rand.New(rand.NewSource(1))
	one := func(of ...any) any { return of[r.Intn(len(of))] }
	list := func(make func() any) []any {
		var out []any
		for range r.Intn(5) {
			out = append(out, make())
		}
		return out
	}
	wrong := 0
	for range 3_000 {
		spec := map[string]any{}
		for name, value := range map[string]func() any{
			"size":  func() any { return one(int64(5), int64(0), int64(8), "x", nil, 1.5) },
			"name":  func() any { return one("a", "abc", "B", "abcdefg", int64(1)) },
			"port":  func() any { return one(int64(80), "http", int64(1), true) },
			"maybe": func() any { return one("x", nil, int64(1)) },
			"list": func() any {
				return list(func() any { return one(map[string]any{"a": int64(1)}, map[string]any{"b": "x"}, "x", nil) })
			},
			"map": func() any {
				m := map[string]any{}
				for i := range r.Intn(5) {
					m[fmt.Sprint("k", i)] = one(int64(2), int64(3), "x")
				}
				return m
			},
			"free": func() any { return map[string]any{"x": one(int64(1), "y")} },
		} {
			if r.Intn(2) == 0 {
				spec[name] = value()
			}
		}
		u := widget(one(spec, spec, spec, spec, "x", nil, []any{}), nil)
		want, got := told(whole.SchemaValidator.Validate(u.Object)), told(values(whole.schema, u.Object, nothing{}))
		if !slices.Equal(got, want) {
			text, _ := json.Marshal(u.Object)
			t.Fatalf("%s\ngot:\n%s\nwant:\n%s", text, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		wrong += len(want)
	}
	if wrong < 5_000 {
		t.Errorf("only %d mistakes were compared", wrong)
	}
}

func told(r *validate.Result) []string {
	var out []string
	for _, err := range r.Errors {
		out = append(out, err.Error())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestManyMistakes: of hundreds of thousands of mistakes in one object the first are
// told, and that there are more, whatever they are about.
func TestManyMistakes(t *testing.T) {
	const many = 30_000
	wrong := map[string]any{"size": int64(1), "name": "a", "list": filled(many, "x")}
	words := make([]string, many)
	for i := range words {
		words[i] = fmt.Sprintf("w%d", i)
	}
	quoted := strings.Join(words, ",")
	for name, tt := range map[string]struct {
		schema string
		spec   any
		want   string
	}{
		"types":        {everything, wrong, errMore.Error()},
		"required":     {"{type: object, properties: {spec: {type: object, required: [" + quoted + "]}}}", map[string]any{}, errMore.Error()},
		"alternatives": {"{type: object, properties: {spec: {type: object, properties: {list: {type: array, items: {type: string}}}, anyOf: [{properties: {list: {items: {minLength: 3}}}}, {properties: {list: {items: {minLength: 2}}}}]}}}", map[string]any{"list": filled(many, "x")}, errMore.Error()},
		"all of":       {"{type: object, properties: {spec: {type: object, properties: {list: {type: array, items: {type: string}}}, allOf: [{properties: {list: {items: {minLength: 3}}}}]}}}", map[string]any{"list": filled(many, "x")}, errMore.Error()},
		"duplicates":   {"{type: object, properties: {spec: {type: object, properties: {list: {type: array, x-kubernetes-list-type: set, items: {type: integer}}}}}}", map[string]any{"list": pairs(many)}, "further errors are not listed"},
		"rules":        {"{type: object, properties: {spec: {type: object, properties: {list: {type: array, items: {type: integer, x-kubernetes-validations: [{rule: self > 0}]}}}}}}", map[string]any{"list": filled(many, int64(-1))}, "further errors are not listed"},
		"enumeration":  {"{type: object, properties: {spec: {type: object, properties: {list: {type: array, items: {type: string, enum: [" + quoted + "]}}}}}}", map[string]any{"list": filled(many, "x")}, "further errors are not listed"},
		"comparisons":  {"{type: object, properties: {spec: {type: object, properties: {list: {type: array, items: {type: string, enum: [" + quoted + "]}}}}}}", map[string]any{"list": filled(many, words[many-1])}, errWork.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			v := version(t, tt.schema)
			u := widget(tt.spec, nil)
			errs := v.Overflow(u, nil, false)
			if len(errs) == 0 || len(errs) > rule.MostErrors+1 || !strings.Contains(text(errs), tt.want) {
				t.Errorf("%d errors, the last is %.300s, want %q", len(errs), last(errs), tt.want)
			}
			if size := len(text(errs)); size > 8<<20 {
				t.Errorf("they are told in %d bytes", size)
			}
			if errs := rule.Bounded(v.Create(u), 0); len(errs) == 0 || !strings.Contains(text(errs), tt.want) {
				t.Errorf("for a commit: %d errors, the last is %.300s", len(errs), last(errs))
			}
		})
	}
}

func pairs(n int) []any {
	var list []any
	for i := range n {
		list = append(list, int64(i), int64(i))
	}
	return list
}

func text(errs field.ErrorList) string { return fmt.Sprint(errs.ToAggregate()) }

func last(errs field.ErrorList) string {
	if len(errs) == 0 {
		return ""
	}
	return errs[len(errs)-1].Error()
}

// TestManyMistakesOfBefore: mistakes that are as they were are none, as long as
// there are few enough for the library to pass over; a status is judged by itself.
func TestManyMistakesOfBefore(t *testing.T) {
	v := version(t, everything)
	old := widget(map[string]any{"size": int64(1), "name": "a", "list": filled(5_000, "x")}, nil)
	old.SetResourceVersion("1")
	next := old.DeepCopy()
	next.SetLabels(map[string]string{"a": "b"})
	if errs := v.Update(next, old); len(errs) > 0 {
		t.Errorf("a label is changed: %.300s", last(errs))
	}
	if errs := v.Overflow(next, old, false); !strings.Contains(text(errs), errMore.Error()) {
		t.Errorf("the library would look at 5,000 mistakes: %.300s", last(errs))
	}
	next = old.DeepCopy()
	next.Object["status"] = map[string]any{"list": filled(5_000, int64(1))}
	if errs := v.Overflow(next, old, true); len(errs) > 0 {
		t.Errorf("a status without mistakes: %.300s", last(errs))
	}
	next.Object["status"] = map[string]any{"list": filled(5_000, "x")}
	if errs := v.Overflow(next, old, true); !strings.Contains(text(errs), errMore.Error()) {
		t.Errorf("a status with many mistakes: %.300s", last(errs))
	}
	// What a creation drops has no mistakes.
	made := widget(map[string]any{"size": int64(1), "name": "a"}, map[string]any{"list": filled(5_000, "x")})
	if errs := v.Overflow(made, nil, false); len(errs) > 0 {
		t.Errorf("a creation with a status: %.300s", last(errs))
	}
	if made.Object["status"] == nil {
		t.Error("the object was changed")
	}
}

// TestFoundRight: what was found right is not looked at again by who found it, but by
// everybody else.
func TestFoundRight(t *testing.T) {
	c, err := version(t, everything).compiled.get()
	if err != nil {
		t.Fatal(err)
	}
	of := c.validator.(bounded)
	wrong := func() map[string]any {
		return widget(map[string]any{"size": int64(1), "name": "a", "list": filled(5_000, "x")}, nil).Object
	}
	next, old := wrong(), wrong()
	done := of.found(next)
	if errs := of.ValidateUpdate(next, old).Errors; len(errs) > 0 {
		t.Errorf("it is looked at again: %d mistakes", len(errs))
	}
	if errs := of.ValidateUpdate(wrong(), old).Errors; len(errs) == 0 {
		t.Error("another object is not looked at")
	}
	done()
	if errs := of.ValidateUpdate(next, old).Errors; len(errs) == 0 {
		t.Error("it is not looked at afterwards")
	}
}
