package validation_test

import (
	"encoding/json"
	"testing"

	"github.com/fluxcd/pkg/apis/kustomize"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/expr"
	"headway.dev/manifests/model/validation"
)

const fuzzedDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    schema: &schema
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            x-kubernetes-validations: [{rule: "self.size >= 0 && (!has(self.color) || self.color != 'mauve')"}]
            properties:
              size: {type: integer, default: 3, maximum: 10}
              color: {type: string, enum: [red, green], nullable: true}
              port: {x-kubernetes-int-or-string: true, default: http}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {a: {type: array, items: {type: string, default: b}}}}
              template: {type: object, x-kubernetes-embedded-resource: true, properties: {spec: {type: object, properties: {a: {type: number}}}}}
              list: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k], items: {type: object, required: [k], properties: {k: {type: string}, v: {type: integer, default: 1}}}}
              map: {type: object, additionalProperties: {type: object, default: {}, properties: {v: {type: boolean, default: true}}}}
              replicas: {type: integer}
          status: {type: object, properties: {replicas: {type: integer}}}
  - name: v2
    served: true
    storage: false
    schema: *schema
`

// FuzzCustomResource: whatever definition is accepted, and whatever object is
// written of it, is pruned and completed once for all, has no unknown field left,
// is held against the schema without a panic, and is the same after it was
// converted to each version and back.
func FuzzCustomResource(f *testing.F) {
	asJSON := func(text string) []byte {
		data, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			f.Fatal(err)
		}
		return data
	}
	definition := asJSON(fuzzedDefinition)
	for _, object := range []string{
		"{}",
		"{spec: {size: 1, color: null, port: 80, unknown: {a: b}, free: {a: [c], x: {y: z}}, list: [{k: a}, {k: a}], map: {m: {}, n: null}}}",
		"{metadata: {name: a, labels: 1}, spec: {size: x, template: {apiVersion: v1, kind: Pod, metadata: {name: p, odd: 1}, spec: {a: 1.5, b: 2}}}, status: []}",
		"{spec: [], status: {replicas: -1}}",
	} {
		f.Add(definition, asJSON(object))
	}
	f.Fuzz(func(t *testing.T, definition, object []byte) {
		decoded, ok := decode(definition)
		crd, isDefinition := decoded.(*apiextensionsv1.CustomResourceDefinition)
		if !ok || !isDefinition {
			return
		}
		defaults.Apply(crd)
		if len(validation.Create(crd)) > 0 {
			return
		}
		content := map[string]any{}
		if json.Unmarshal(object, &content) != nil {
			return
		}
		d := custom.New(crd)
		for _, name := range d.Served() {
			v, _ := d.Version(name)
			throughVersion(t, d, v, crd.Spec.Names.Kind, content)
		}
		if c, err := d.Converter(); err == nil {
			u := &unstructured.Unstructured{Object: content}
			u.SetAPIVersion(crd.Spec.Group + "/" + crd.Spec.Versions[0].Name)
			u.SetKind(crd.Spec.Names.Kind)
			_, _ = c.ObjectToTyped(u) // it may be of another type than the schema says
		}
	})
}

func throughVersion(t *testing.T, d *custom.Definition, v *custom.Version, kind string, content map[string]any) {
	t.Helper()
	u := (&unstructured.Unstructured{Object: content}).DeepCopy()
	u.SetAPIVersion(v.GroupVersion().String())
	u.SetKind(kind)
	if v.Complete(u) != nil {
		return
	}
	if unknown, err := v.Unknown(u); err != nil || len(unknown) > 0 {
		t.Fatalf("unknown fields are left: %v %v", unknown, err)
	}
	again := u.DeepCopy()
	if err := v.Complete(again); err != nil || !equality.Semantic.DeepEqual(u, again) {
		t.Fatalf("what is complete is completed: %v\n%v\n%v", err, u, again)
	}
	v.Types(u)
	v.Create(u)
	v.Update(again, u)
	for _, other := range d.Served() {
		there, err := d.Convert(t.Context(), u, schema.GroupVersion{Group: v.GroupVersion().Group, Version: other}, nil)
		if err != nil {
			continue // a webhook would be asked
		}
		if back, err := d.Convert(t.Context(), there, v.GroupVersion(), nil); err != nil || !equality.Semantic.DeepEqual(u, back) {
			t.Fatalf("converted to %s and back, it is another: %v\n%v\n%v", other, err, u, back)
		}
	}
}

// FuzzExpression: no CEL expression, wherever one may stand, makes its compiler
// or its evaluation fall over.
func FuzzExpression(f *testing.F) {
	for _, seed := range []string{
		"self.spec.size > 1", "oldSelf.spec == self.spec", "object.spec.replicas <= 5", "has(status.x) && status.x.all(c, c.type != 'a')",
		"'a'.matches('(a+)+$')", "[1,2,3].map(x, [1,2,3].map(y, x*y)).size() > 0", "duration('1h') > duration('1m')", "'x' + 1", "quantity('1Ki').isGreaterThan(quantity('1k'))",
		"authorizer.group('').resource('pods').check('get').allowed()", "cidr('10.0.0.0/8').containsIP(ip('10.0.0.1'))", "optional.of(1).hasValue()", "\x00", "(((((",
	} {
		f.Add(seed)
	}
	pod := map[string]any{"metadata": map[string]any{"name": "a"}, "spec": map[string]any{"size": int64(2)}, "status": map[string]any{}}
	f.Fuzz(func(t *testing.T, source string) {
		crd := parse[*apiextensionsv1.CustomResourceDefinition](t, fuzzedDefinition)
		crd.Spec.Versions = crd.Spec.Versions[:1]
		crd.Spec.Versions[0].Schema.OpenAPIV3Schema.XValidations = apiextensionsv1.ValidationRules{{Rule: source, MessageExpression: source}}
		if len(validation.Create(crd)) == 0 {
			d := custom.New(crd)
			v, _ := d.Version("v1")
			throughVersion(t, d, v, "Widget", pod)
		}
		policy := parse[*admissionregistrationv1.ValidatingAdmissionPolicy](t, basePolicy)
		policy.Spec.Validations[0].Expression, policy.Spec.Validations[0].MessageExpression = source, source
		policy.Spec.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "a", Expression: source}}
		validation.Create(policy)
		if h, err := expr.CompileHealth(kustomize.HealthCheckExpressions{Current: source}); err == nil {
			h.Of(pod)
		}
	})
}
