package openapi_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/model/support"
)

// TestPublishedFields sets every field that Kubernetes publishes of a kind: none
// is unknown, none is lost in JSON or protobuf, and what has a default gets it if
// it is left out, unless it is refused by name.
func TestPublishedFields(t *testing.T) {
	documents := publishedDocuments(t)
	for name, create := range publishedKinds() {
		t.Run(name.GroupKind().String(), func(t *testing.T) {
			root := "apis/" + name.GroupVersion().String()
			if name.Group == "" {
				root = "api/" + name.Version
			}
			s := sampler{schemas: documents[root].Components.Schemas}
			definition := s.kind(name)
			if definition == "" {
				t.Fatalf("%s is not published", name)
			}
			whole, _ := s.object(definition, nil).(map[string]any)
			whole["apiVersion"], whole["kind"] = name.GroupVersion().String(), name.Kind
			obj := decode(t, create(), whole)
			if diff := cmp.Diff(whole, encode(t, obj)); diff != "" {
				t.Errorf("JSON loses (-) or makes (+) fields:\n%s", diff)
			}
			viaProtobuf(t, obj, create())
			s.bare = true
			bare, _ := s.object(definition, nil).(map[string]any)
			bare["apiVersion"], bare["kind"] = name.GroupVersion().String(), name.Kind
			obj = decode(t, create(), bare)
			refused := support.Refusals(obj, nil)
			defaults.Apply(obj)
			after := encode(t, obj)
			for _, d := range s.defaults {
				if slices.ContainsFunc(refused, func(e *field.Error) bool { return strings.HasPrefix(d.path, e.Field) }) {
					continue
				}
				if got := value(after, d.keys); fmt.Sprint(got) != fmt.Sprint(d.value) {
					t.Errorf("%s is %v by default, want %v", d.path, got, d.value)
				}
			}
		})
	}
}

type publishedDocument struct {
	Components struct{ Schemas map[string]*publishedSchema }
}

type publishedSchema struct {
	Ref                  string                      `json:"$ref"`
	AllOf                []*publishedSchema          `json:"allOf"`
	Type, Format         string                      //nolint:musttag // as they are
	Enum                 []any                       `json:"enum"`
	Default              any                         `json:"default"`
	Properties           map[string]*publishedSchema `json:"properties"`
	Items                *publishedSchema            `json:"items"`
	AdditionalProperties *publishedSchema            `json:"additionalProperties"`
	Kinds                []schema.GroupVersionKind   `json:"x-kubernetes-group-version-kind"`
}

func publishedDocuments(t *testing.T) map[string]*publishedDocument {
	t.Helper()
	file, err := os.Open("testdata/published.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var p struct{ V3 map[string]*publishedDocument }
	if err := json.NewDecoder(z).Decode(&p); err != nil {
		t.Fatal(err)
	}
	return p.V3
}

// publishedKinds are the served kinds and views that are Kubernetes'.
func publishedKinds() map[schema.GroupVersionKind]func() object.Object {
	kinds := map[schema.GroupVersionKind]func() object.Object{}
	for _, k := range scheme.Kinds() {
		if !strings.HasSuffix(k.Group, ".fluxcd.io") {
			kinds[k.GroupVersionKind] = k.New
		}
	}
	for _, v := range scheme.Views() {
		kinds[v.GroupVersionKind] = v.New
	}
	return kinds
}

// sampler makes objects with all of their fields, or with all that have no
// default.
type sampler struct {
	schemas  map[string]*publishedSchema
	bare     bool
	defaults []fieldDefault
	// above are the definitions that lead here: those that contain themselves
	// end.
	above []string
}

type fieldDefault struct {
	path  string
	keys  []string
	value any
}

// kind finds the definition of a kind.
func (s *sampler) kind(name schema.GroupVersionKind) string {
	for definition, one := range s.schemas {
		if slices.Contains(one.Kinds, name) && one.Properties["metadata"] != nil {
			return definition
		}
	}
	return ""
}

// samples are of the types whose JSON is not described.
var samples = map[string]any{
	"io.k8s.apimachinery.pkg.api.resource.Quantity":                                         "1",
	"io.k8s.apimachinery.pkg.util.intstr.IntOrString":                                       int64(1),
	"io.k8s.apimachinery.pkg.apis.meta.v1.Time":                                             "2026-01-02T03:04:05Z",
	"io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime":                                        "2026-01-02T03:04:05.000006Z",
	"io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1":                                         map[string]any{"f:a": map[string]any{}},
	"io.k8s.apimachinery.pkg.runtime.RawExtension":                                          map[string]any{"a": "b"},
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON":                         map[string]any{"a": "b"},
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray":       map[string]any{"type": "string"},
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool":        true,
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": []any{"a"},
}

func (s *sampler) object(definition string, keys []string) any {
	if sample, ok := samples[definition]; ok {
		return sample
	}
	if slices.Contains(s.above, definition) {
		return nil
	}
	s.above = append(s.above, definition)
	defer func() { s.above = s.above[:len(s.above)-1] }()
	return s.value(s.schemas[definition], keys)
}

func (s *sampler) value(of *publishedSchema, keys []string) any {
	if ref := of.Ref; ref != "" || len(of.AllOf) == 1 {
		if ref == "" {
			ref = of.AllOf[0].Ref
		}
		return s.object(strings.TrimPrefix(ref, "#/components/schemas/"), keys)
	}
	switch {
	case len(of.Enum) > 0:
		return of.Enum[0]
	case of.Type == "string" && of.Format == "byte":
		return "eA=="
	case of.Type == "string":
		return "a"
	case of.Type == "boolean":
		return true
	case of.Type == "integer":
		return int64(3)
	case of.Type == "number":
		return 1.5
	case of.Type == "array":
		if item := s.value(of.Items, append(slices.Clone(keys), "0")); item != nil {
			return []any{item}
		}
		return nil
	case of.AdditionalProperties != nil:
		if item := s.value(of.AdditionalProperties, append(slices.Clone(keys), "k")); item != nil {
			return map[string]any{"k": item}
		}
		return nil
	}
	all := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(of.Properties)) {
		property, below := of.Properties[name], append(slices.Clone(keys), name)
		if d := property.Default; s.bare && d != nil && d != "" && d != false && !cmp.Equal(d, map[string]any{}) && !cmp.Equal(d, 0.0) {
			s.defaults = append(s.defaults, fieldDefault{fieldPath(below), below, d})
			continue
		}
		if v := s.value(property, below); v != nil {
			all[name] = v
		}
	}
	return all
}

// fieldPath is a path in the form of the API's errors.
func fieldPath(keys []string) string {
	path := strings.Join(keys, ".")
	return strings.ReplaceAll(path, ".0", "[0]")
}

func value(tree any, keys []string) any {
	for _, key := range keys {
		switch t := tree.(type) {
		case map[string]any:
			tree = t[key]
		case []any:
			tree = t[0]
		default:
			return nil
		}
	}
	return tree
}

func decode(t *testing.T, into object.Object, tree map[string]any) object.Object {
	t.Helper()
	data, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	strict := kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, kjson.SerializerOptions{Strict: true})
	if _, _, err := strict.Decode(data, nil, into); err != nil {
		t.Error(err)
	}
	return into
}

func encode(t *testing.T, obj object.Object) map[string]any {
	t.Helper()
	data, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	tree := map[string]any{}
	if err := utiljson.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

func viaProtobuf(t *testing.T, obj, into object.Object) {
	t.Helper()
	if set, ok := obj.(*appsv1.StatefulSet); ok {
		// In Kubernetes, too, protobuf has no place for the kind of an embedded object.
		for i := range set.Spec.VolumeClaimTemplates {
			set.Spec.VolumeClaimTemplates[i].TypeMeta = metav1.TypeMeta{}
		}
	}
	codec := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	data, err := runtime.Encode(codec, obj)
	if err != nil {
		t.Fatal(err)
	}
	back, _, err := codec.Decode(data, nil, into)
	if err != nil {
		t.Fatal(err)
	}
	if !equality.Semantic.DeepEqual(obj, back) {
		t.Errorf("protobuf loses fields:\n%s", cmp.Diff(fmt.Sprintf("%+v", obj), fmt.Sprintf("%+v", back)))
	}
}
