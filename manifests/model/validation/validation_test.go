package validation_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/model/validation"
)

// parse decodes one manifest and applies its defaults.
func parse[T object.Object](tb testing.TB, manifest string) T {
	tb.Helper()
	data, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		tb.Fatal(err)
	}
	obj, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), data)
	if err != nil {
		tb.Fatal(err)
	}
	defaults.Apply(obj.(object.Object))
	return obj.(T)
}

// What the library says of names, which is long.
var (
	subdomainMessage = utilvalidation.IsDNS1123Subdomain("A")[0]
	labelMessage     = utilvalidation.IsDNS1035Label("A")[0]
	qualifiedMessage = utilvalidation.IsQualifiedName("a b")[0]
)

type cases[T object.Object] map[string]struct {
	edit func(obj T)
	want []string
}

// create edits the base of every case and expects exactly the wanted messages,
// in any order.
func create[T object.Object](t *testing.T, base string, table cases[T]) {
	t.Helper()
	if errs := validation.Create(parse[T](t, base)); len(errs) > 0 {
		t.Fatalf("the base is invalid: %v", errs)
	}
	for name, tc := range table {
		t.Run(name, func(t *testing.T) {
			obj := parse[T](t, base)
			tc.edit(obj)
			compare(t, validation.Create(obj), tc.want)
			if len(tc.want) > 0 {
				shownOf(obj).created++
			}
		})
	}
}

func update[T object.Object](t *testing.T, base string, table cases[T]) {
	t.Helper()
	changed(t, base, table, validation.Update, func(r *refused) *int { return &r.changed })
}

func updateStatus[T object.Object](t *testing.T, base string, table cases[T]) {
	t.Helper()
	changed(t, base, table, validation.UpdateStatus, func(r *refused) *int { return &r.status })
}

func changed[T object.Object](t *testing.T, base string, table cases[T], validate func(obj, old object.Object) field.ErrorList, count func(*refused) *int) {
	t.Helper()
	for name, tc := range table {
		t.Run(name, func(t *testing.T) {
			old, obj := parse[T](t, base), parse[T](t, base)
			tc.edit(obj)
			compare(t, validate(obj, old), tc.want)
			if len(tc.want) > 0 {
				*count(shownOf(obj))++
			}
		})
	}
}

func compare(t *testing.T, errs field.ErrorList, want []string) {
	t.Helper()
	var got []string
	for _, err := range errs {
		message, _, _ := strings.Cut(err.Error(), "\n@@") // the difference, which some show
		got = append(got, message)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("messages differ (-want +got):\n%s", diff)
	}
}

// What is invalid must not make the rules fall over: every kind, empty.
func TestEmpty(t *testing.T) {
	for _, k := range scheme.Kinds() {
		if errs := validation.Create(k.New()); len(errs) == 0 {
			t.Errorf("an empty %s is valid", k.Kind)
		}
		validation.Update(k.New(), k.New())
		validation.UpdateStatus(k.New(), k.New())
	}
}

const cm = `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b}}`

func TestMetadata(t *testing.T) {
	const label = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
	create(t, cm, cases[object.Object]{
		"no name":      {func(o object.Object) { o.SetName("") }, []string{"metadata.name: Required value: name or generateName is required"}},
		"no namespace": {func(o object.Object) { o.SetNamespace("") }, []string{"metadata.namespace: Required value"}},
		"upper case": {func(o object.Object) { o.SetName("A") }, []string{
			`metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
		}},
		"label key": {func(o object.Object) { o.SetLabels(map[string]string{"a b": "c"}) }, []string{`metadata.labels: Invalid value: "a b": ` + label}},
	})
	create(t, `{apiVersion: v1, kind: Namespace, metadata: {name: a}}`, cases[object.Object]{
		"namespaced": {func(o object.Object) { o.SetNamespace("b") }, []string{"metadata.namespace: Forbidden: not allowed on this type"}},
		"dots": {func(o object.Object) { o.SetName("a.b") }, []string{
			`metadata.name: Invalid value: "a.b": must not contain dots`,
		}},
	})
	update(t, cm, cases[object.Object]{
		"the same":       {func(object.Object) {}, nil},
		"a version":      {func(o object.Object) { o.SetResourceVersion("5") }, nil},
		"renamed":        {func(o object.Object) { o.SetName("c") }, []string{`metadata.name: Invalid value: "c": field is immutable`}},
		"another object": {func(o object.Object) { o.SetUID("u") }, []string{`metadata.uid: Invalid value: "u": field is immutable`}},
	})
}
