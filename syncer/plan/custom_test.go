package plan_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/plan"
)

const (
	widgets = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: &schema
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            x-kubernetes-validations:
            - {rule: "self.size != 13", message: "thirteen is bad luck"}
            properties:
              size: {type: integer, maximum: 100}
              color: {type: string, default: red}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties:
                    name: {type: string}
                    count: {type: integer}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
  - name: v1beta1
    served: true
    storage: false
    subresources: {status: {}}
    schema: *schema
  - name: v0
    served: false
    storage: false
    schema: *schema
`
	widget = `apiVersion: example.com/v1
kind: Widget
metadata: {namespace: web, name: one}
spec:
  size: 3
  parts:
  - {name: a, count: 1}
`
)

var widgetKey = object.Key{GroupKind: schema.GroupKind{Group: "example.com", Kind: "Widget"}, Namespace: "web", Name: "one"}

// accept does what the controllers of definitions do.
func accept(tb testing.TB, s *memstore.Store) {
	tb.Helper()
	key := object.Key{GroupKind: apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition").GroupKind(), Name: "widgets.example.com"}
	_, err := s.Commit(context.Background(), change.Tx{Changes: []change.Change{change.PatchStatus(key, func(o object.Object) bool {
		crd := o.(*apiextensionsv1.CustomResourceDefinition)
		crd.Status.AcceptedNames = crd.Spec.Names
		return true
	})}})
	if err != nil {
		tb.Fatal(err)
	}
}

// A definition and its resources come in one commit, are unchanged then, also for a
// planner that remembers nothing and once the names are accepted, are healed, and go
// together.
func TestCustomResourcesWithTheirDefinition(t *testing.T) {
	s := memstore.New()
	p := plan.New(s.Kinds())
	list := items(t, widget, widgets, namespace)
	res := p.Plan(t.Context(), input(list), s)
	want(t, res, "Create Namespace/web", "Create CustomResourceDefinition/widgets.example.com", "Create Widget/one")
	carryOut(t, s, res)
	u := s.Get(widgetKey).(*unstructured.Unstructured)
	if color, _, _ := unstructured.NestedString(u.Object, "spec", "color"); color != "red" || u.GetGeneration() != 1 || u.GetUID() == "" {
		t.Errorf("stored is %v", u.Object)
	}
	unchanged := []string{"Unchanged Namespace/web", "Unchanged CustomResourceDefinition/widgets.example.com", "Unchanged Widget/one"}
	want(t, plan.New(s.Kinds()).Plan(t.Context(), input(list), s), unchanged...)
	accept(t, s)
	again := plan.New(s.Kinds())
	res = again.Plan(t.Context(), input(list), s)
	want(t, res, unchanged...)
	if res = again.Plan(t.Context(), input(list), s); res.Compared != 0 {
		t.Errorf("%d objects are compared again although nothing has changed", res.Compared)
	}

	// Somebody changes a field of Git, adds one of theirs, and a controller the status.
	edit := func(manager string, change func(*unstructured.Unstructured)) {
		t.Helper()
		next := s.Get(widgetKey).(*unstructured.Unstructured).DeepCopy()
		change(next)
		next.SetManagedFields(append(next.GetManagedFields(), metav1.ManagedFieldsEntry{
			Manager: manager, Operation: "Update", APIVersion: "example.com/v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:color":{}}}`),
		}))
		if _, err := s.Commit(context.Background(), tx(replaced(next))); err != nil {
			t.Fatal(err)
		}
	}
	edit("operator", func(u *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(u.Object, int64(5), "spec", "size")
		_ = unstructured.SetNestedField(u.Object, "blue", "spec", "color")
		_ = unstructured.SetNestedField(u.Object, "fine", "status", "word")
	})
	res = again.Plan(t.Context(), input(list), s)
	want(t, res, unchanged[0], unchanged[1], "Update Widget/one spec.size:5>3")
	carryOut(t, s, res)
	u = s.Get(widgetKey).(*unstructured.Unstructured)
	color, _, _ := unstructured.NestedString(u.Object, "spec", "color")
	word, _, _ := unstructured.NestedString(u.Object, "status", "word")
	if color != "blue" || word != "fine" || u.GetGeneration() != 2 {
		t.Errorf("healed is %v", u.Object)
	}

	// A part is added and another changed: by the key of the list.
	more := strings.Replace(widget, "- {name: a, count: 1}", "- {name: b, count: 2}\n  - {name: a, count: 4}", 1)
	res = again.Plan(t.Context(), input(items(t, more, widgets, namespace)), s)
	want(t, res, unchanged[0], unchanged[1], "Update Widget/one spec.parts[name=a].count:1>4 spec.parts[name=b].count:<nil>>2 spec.parts[name=b].name:<nil>>b")

	// The definition alone may not go; both go together.
	in := input(items(t, widget, namespace))
	in.Inventory = res.Inventory
	want(t, again.Plan(t.Context(), in, s), unchanged[0], unchanged[2], "Delete CustomResourceDefinition/widgets.example.com",
		"error 0.yaml:1: Widget web/one: the CustomResourceDefinition widgets.example.com is no longer declared, and would be deleted with all objects of its kind: declare it, or remove the object, too")
	in = input(items(t, namespace))
	in.Inventory = res.Inventory
	want(t, again.Plan(t.Context(), in, s), unchanged[0], "Delete Widget/one", "Delete CustomResourceDefinition/widgets.example.com")
}

func TestCustomResourcesAreRefused(t *testing.T) {
	s := memstore.New()
	list := func(edit ...string) []string {
		w := widget
		for i := 0; i < len(edit); i += 2 {
			w = strings.Replace(w, edit[i], edit[i+1], 1)
		}
		res := plan.New(s.Kinds()).Plan(t.Context(), input(items(t, widgets, namespace, w)), s)
		var out []string
		for _, e := range res.Errors {
			out = append(out, e.Error())
		}
		return out
	}
	for name, tt := range map[string]struct {
		edit []string
		want string
	}{
		"a value":           {[]string{"size: 3", "size: 300"}, "2.yaml:5: Widget web/one: spec.size: Invalid value: 300: spec.size in body should be less than or equal to 100"},
		"a rule":            {[]string{"size: 3", "size: 13"}, "2.yaml:4: Widget web/one: spec: Invalid value: thirteen is bad luck"},
		"a type":            {[]string{"size: 3", "size: big"}, "2.yaml:5: Widget web/one: spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\""},
		"a missing field":   {[]string{"  size: 3\n", ""}, "2.yaml:4: Widget web/one: spec.size: Required value"},
		"an unknown field":  {[]string{"size: 3", "size: 3\n  colour: red"}, "2.yaml:6: Widget web/one: spec.colour: unknown field"},
		"an unknown part":   {[]string{"count: 1", "number: 1"}, "2.yaml:7: Widget web/one: spec.parts[0].number: unknown field"},
		"another version":   {[]string{"example.com/v1", "example.com/v3"}, `2.yaml:2: Widget web/one: kind: no matches for kind "Widget" in version "example.com/v3"`},
		"not served":        {[]string{"example.com/v1", "example.com/v0"}, `2.yaml:2: Widget web/one: kind: no matches for kind "Widget" in version "example.com/v0"`},
		"another kind":      {[]string{"kind: Widget", "kind: Gadget"}, `2.yaml:2: Gadget web/one: kind: no matches for kind "Gadget" in version "example.com/v1"`},
		"an invalid name":   {[]string{"name: one", "name: One_"}, "2.yaml:3: Widget web/One_: metadata.name: Invalid value: \"One_\": "},
		"a bad namespace":   {[]string{"namespace: web", "namespace: none"}, `2.yaml:1: Widget none/one: namespaces "none" not found`},
		"of another's kind": {[]string{"example.com/v1", "example.org/v1"}, `2.yaml:2: Widget web/one: kind: no matches for kind "Widget" in version "example.org/v1"`},
	} {
		got := list(tt.edit...)
		if len(got) == 0 || !strings.HasPrefix(got[0], tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	if got := list("example.com/v1", "example.com/v1beta1"); len(got) > 0 {
		t.Errorf("in another served version: %q", got)
	}
}

// Of hundreds of thousands of mistakes the first are told, and that there are more;
// what else is in the commit is judged all the same.
func TestCustomResourcesWithManyMistakes(t *testing.T) {
	const many = 50_000
	list := func(format string) string {
		var b strings.Builder
		for i := range many {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for name, tt := range map[string]struct{ manifest, want string }{
		"types":          {widget + "  - {name: x, count: [" + list("%d,") + "]}\n", "count in body must be of type integer"},
		"unknown fields": {widget + list("  x%d: 1\n"), "unknown field (49499 further errors are not listed)"},
		"many types":     {widget + list("  - {name: n%d, count: x}\n"), "further errors are not listed"},
		"no parts":       {widget + list("  - {count: %d}\n"), "element 1: associative list with keys has an element that omits all key fields"},
	} {
		s := memstore.New()
		other := strings.Replace(widget, "name: one", "name: other", 1)
		res := plan.New(s.Kinds()).Plan(t.Context(), input(items(t, widgets, namespace, tt.manifest, other)), s)
		if len(res.Errors) == 0 || len(res.Errors) > 501 {
			t.Fatalf("%s: %d errors", name, len(res.Errors))
		}
		if last := res.Errors[len(res.Errors)-1].Error(); !strings.Contains(last, tt.want) {
			t.Errorf("%s: the last of %d errors is %.300s, want %q", name, len(res.Errors), last, tt.want)
		}
		for _, e := range res.Errors {
			if e.Key.Name != "one" {
				t.Errorf("%s: %v", name, e)
			}
		}
	}
}

// A definition that is too deep or has too many rules is refused with its file, and so
// are its resources, and nothing else is.
func TestHostileDefinitions(t *testing.T) {
	for want, replace := range map[string][2]string{
		"must have at most 100 levels of properties and items": {"color: {type: string, default: red}", "color: " + strings.Repeat("{type: object, properties: {a: ", 150) + "{type: string}" + strings.Repeat("}}", 150)},
		"must have at most 2000 rules in all versions together": {`- {rule: "self.size != 13", message: "thirteen is bad luck"}`, strings.Repeat(`- {rule: "self.size != 13"}
            `, 2_500)},
		"estimated rule cost exceeds budget": {`self.size != 13`, `self.parts.all(x, self.parts.all(y, self.parts.all(z, x.name + y.name != z.name)))`},
	} {
		s := memstore.New()
		res := plan.New(s.Kinds()).Plan(t.Context(), input(items(t, strings.Replace(widgets, replace[0], replace[1], 1), namespace, widget)), s)
		got := strings.Join(lines(res), "\n")
		if !strings.Contains(got, want) || !strings.Contains(got, "its CustomResourceDefinition is refused") {
			t.Errorf("%.600s, want %q", got, want)
		}
	}
}

// The schema of the commit judges, not the stored one.
func TestCustomResourcesFollowANewSchema(t *testing.T) {
	s := memstore.New()
	p := plan.New(s.Kinds())
	carryOut(t, s, p.Plan(t.Context(), input(items(t, widget, widgets, namespace)), s))
	accept(t, s)
	narrow := strings.ReplaceAll(widgets, "maximum: 100", "maximum: 2")
	wide := strings.ReplaceAll(widgets, "maximum: 100", "maximum: 1000")
	large := strings.Replace(widget, "size: 3", "size: 300", 1)
	res := p.Plan(t.Context(), input(items(t, large, wide, namespace)), s)
	if got := strings.Join(lines(res), "\n"); len(res.Errors) > 0 || !strings.Contains(got, "Update Widget/one spec.size:3>300") {
		t.Errorf("with a wider schema: %s", got)
	}
	res = p.Plan(t.Context(), input(items(t, strings.Replace(widget, "size: 3", "size: 4", 1), narrow, namespace)), s)
	if len(res.Errors) != 1 || !strings.Contains(res.Errors[0].Error(), "should be less than or equal to 2") {
		t.Errorf("with a narrower schema: %v", lines(res))
	}
}

// While a definition goes, nothing of its kind can be created.
func TestCustomResourcesOfATerminatingDefinition(t *testing.T) {
	s := memstore.New()
	p := plan.New(s.Kinds())
	carryOut(t, s, p.Plan(t.Context(), input(items(t, widgets, namespace)), s))
	accept(t, s)
	key := object.Key{GroupKind: apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition").GroupKind(), Name: "widgets.example.com"}
	if _, err := s.Commit(context.Background(), tx(change.Delete(key, metav1.DeleteOptions{}, time.Now()))); err != nil {
		t.Fatal(err)
	}
	want(t, p.Plan(t.Context(), input(items(t, widget, namespace)), s), "Unchanged Namespace/web",
		"error 0.yaml:1: Widget web/one: create not allowed while custom resource definition is terminating")
}

func tx(changes ...change.Change) change.Tx { return change.Tx{Changes: changes} }

// replaced is a custom resource with its status in the place of another.
func replaced(next object.Object) change.Change {
	return change.Change{Key: widgetKey, Mutate: func(object.Object) (object.Object, error) { return next, nil }}
}
