package controllers_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/admission/configured"
	"headway.dev/engine/api/openapi"
	"headway.dev/engine/controllers"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// The status of a policy tells once for each generation which of its expressions do not
// fit the kinds that it matches, which may be defined together with it.
func TestPolicyStatus(t *testing.T) {
	c := start(t, 0, func(cfg *controllers.Config) {
		reader := cfg.Store
		cfg.CheckTypes = func(p *admissionregistrationv1.ValidatingAdmissionPolicy) []admissionregistrationv1.ExpressionWarning {
			return configured.CheckTypes(p, reader, openapi.NewSchemas(reader))
		}
	})
	of := func(group, version string, resources ...string) *admissionregistrationv1.MatchResources {
		return &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
			RuleWithOperations: admissionregistrationv1.RuleWithOperations{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: resources},
			},
		}}}
	}
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "gauges.example.com"}}
	crd.Spec.Group, crd.Spec.Scope = "example.com", apiextensionsv1.NamespaceScoped
	crd.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: "gauges", Singular: "gauge", Kind: "Gauge"}
	crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{
		OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
			"spec": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"level": {Type: "integer"}}},
		}},
	}}}
	type warning = admissionregistrationv1.ExpressionWarning
	const first, message = "spec.validations[0].expression", "spec.validations[0].messageExpression"
	var changes []change.Change
	cases := []struct {
		name       string
		match      *admissionregistrationv1.MatchResources
		param      *admissionregistrationv1.ParamKind
		variable   string
		expression string
		message    string
		want       []warning
	}{
		{name: "right", match: of("apps", "v1", "deployments"), expression: "object.spec.replicas > 1", message: "string(object.spec.replicas)"},
		{name: "undefined", match: of("apps", "v1", "deployments"), expression: "object.replicas > 1", want: []warning{{
			FieldRef: first, Warning: "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n",
		}}},
		{name: "message", match: of("", "v1", "pods"), expression: "true", message: "object.spec.hostName", want: []warning{{
			FieldRef: message, Warning: "/v1, Kind=Pod: ERROR: <input>:1:12: undefined field 'hostName'\n | object.spec.hostName\n | ...........^\n",
		}}},
		{name: "wildcard", match: of("*", "v1", "deployments"), expression: "object.replicas > 1"},
		{name: "subresource", match: of("apps", "v1", "deployments/scale"), expression: "object.replicas > 1"},
		{name: "unknown", match: of("example.org", "v1", "things"), expression: "object.replicas > 1"},
		{name: "several", match: of("apps", "v1", "replicasets", "deployments"), expression: "object.spec.strategy.type == 'Recreate'", want: []warning{{
			FieldRef: first, Warning: "apps/v1, Kind=ReplicaSet: ERROR: <input>:1:12: undefined field 'strategy'\n | object.spec.strategy.type == 'Recreate'\n | ...........^\n",
		}}},
		{name: "types", match: of("", "v1", "services"), expression: "object.spec.ports.all(p, p.targetPort == 80 || p.port == 'x')", want: []warning{{
			FieldRef: first, Warning: "/v1, Kind=Service: ERROR: <input>:1:55: found no matching overload for '_==_' applied to '(int, string)'\n | object.spec.ports.all(p, p.targetPort == 80 || p.port == 'x')\n | ......................................................^\n",
		}}},
		{name: "variables", match: of("", "v1", "configmaps"), variable: "object.data", expression: "variables.v.size() > 0 && variables.w", want: []warning{{
			FieldRef: first, Warning: "/v1, Kind=ConfigMap: ERROR: <input>:1:36: undefined field 'w'\n | variables.v.size() > 0 && variables.w\n | ...................................^\n",
		}}},
		{name: "parameters", match: of("", "v1", "configmaps"), param: &admissionregistrationv1.ParamKind{APIVersion: "example.com/v1", Kind: "Gauge"}, expression: "params.spec.height > 1", want: []warning{{
			FieldRef: first, Warning: "/v1, Kind=ConfigMap: ERROR: <input>:1:12: undefined field 'height'\n | params.spec.height > 1\n | ...........^\n",
		}}},
		{name: "custom", match: of("example.com", "v1", "gauges"), expression: "object.spec.level > 1 && object.metadata.name != '' && object.spec.height > 1", want: []warning{{
			FieldRef: first, Warning: "example.com/v1, Kind=Gauge: ERROR: <input>:1:67: undefined field 'height'\n | object.spec.level > 1 && object.metadata.name != '' && object.spec.height > 1\n | ..................................................................^\n",
		}}},
	}
	for _, tc := range cases {
		p := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: tc.name}}
		p.Spec.MatchConstraints, p.Spec.ParamKind = tc.match, tc.param
		p.Spec.Validations = []admissionregistrationv1.Validation{{Expression: tc.expression, MessageExpression: tc.message}}
		if tc.variable != "" {
			p.Spec.Variables = []admissionregistrationv1.Variable{{Name: "v", Expression: tc.variable}}
		}
		changes = append(changes, change.Create(p, time.Now()))
	}
	c.commit(append(changes, change.Create(crd, time.Now()))...)
	policy := func(name string) (object.Key, *admissionregistrationv1.ValidatingAdmissionPolicy) {
		key := object.Key{GroupKind: admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicy").GroupKind(), Name: name}
		return key, c.store.Get(key).(*admissionregistrationv1.ValidatingAdmissionPolicy)
	}
	for _, tc := range cases {
		var p *admissionregistrationv1.ValidatingAdmissionPolicy
		c.eventually("the policy "+tc.name+" is checked", func() bool {
			_, p = policy(tc.name)
			return p.Status.ObservedGeneration == 1
		})
		if p.Status.TypeChecking == nil {
			t.Errorf("%s: no type checking", tc.name)
		} else if d := cmp.Diff(tc.want, p.Status.TypeChecking.ExpressionWarnings); d != "" {
			t.Errorf("%s: warnings (-want +got):\n%s", tc.name, d)
		}
	}
	key, _ := policy("undefined")
	c.commit(change.Patch(key, func(obj object.Object) bool {
		obj.(*admissionregistrationv1.ValidatingAdmissionPolicy).Spec.Validations[0].Expression = "object.spec.replicas > 1"
		return true
	}))
	c.eventually("what was mended is checked again", func() bool {
		_, p := policy("undefined")
		return p.Status.ObservedGeneration == 2 && p.Status.TypeChecking != nil && len(p.Status.TypeChecking.ExpressionWarnings) == 0
	})
}
