package api_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/engine/admission"
	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// limit is a policy about the entries of ConfigMaps, with its binding.
const limit = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: limit}
spec:
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE, UPDATE]}]
  matchConditions: [{name: not-the-parameters, expression: object.metadata.name != 'limits'}]
  variables: [{name: most, expression: int(params.data.most)}]
  validations:
  - expression: "!has(object.data) || size(object.data) <= variables.most"
    messageExpression: "'has ' + string(size(object.data)) + ' entries, may have ' + params.data.most"
    reason: Invalid
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: limit-shop}
spec:
  policyName: limit
  validationActions: [Deny]
  paramRef: {name: limits, namespace: default, parameterNotFoundAction: Deny}
  matchResources: {namespaceSelector: {matchLabels: {team: shop}}}
`

func TestPolicies(t *testing.T) {
	s := apitest.Start(t)
	warned := &told{}
	cfg := rest.CopyConfig(s.Config)
	cfg.WarningHandler = warned
	client := kubernetes.NewForConfigOrDie(cfg)
	shop := func(name string, data ...string) *corev1.ConfigMap {
		cm := configMap(name)
		cm.Namespace, cm.Data = "shop", map[string]string{}
		for _, key := range data {
			cm.Data[key] = "x"
		}
		return cm
	}
	inside := func(obj object.Object) error {
		_, err := s.Writer.Commit(t.Context(), change.Tx{Changes: []change.Change{change.Create(obj, time.Now())}})
		return err
	}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"team": "shop"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	t.Run("refused with the message of the policy, by its parameters", func(t *testing.T) {
		if out, errOut, err := s.Kubectl(t, limit, "apply", "-f", "-"); err != nil {
			t.Fatalf("kubectl apply: %v: %s%s", err, out, errOut)
		}
		t.Cleanup(func() {
			if _, errOut, err := s.KubectlAs(t, s.Kubeconfig, limit, "delete", "-f", "-"); err != nil && t.Context().Err() == nil {
				t.Errorf("kubectl delete: %v: %s", err, errOut)
			}
		})
		// The next write already meets it.
		err := inside(shop("a"))
		if err == nil || !strings.Contains(err.Error(), "no params found for policy binding with `Deny` parameterNotFoundAction") {
			t.Errorf("without parameters: %v", err)
		}
		limits := configMap("limits")
		limits.Data = map[string]string{"most": "1"}
		if err := inside(limits); err != nil {
			t.Fatal(err)
		}
		const want = `configmaps "b" is forbidden: ValidatingAdmissionPolicy 'limit' with binding 'limit-shop' denied request: has 2 entries, may have 1`
		if err := inside(shop("b", "x", "y")); err == nil || err.Error() != want || !apierrors.IsInvalid(err) {
			t.Errorf("inside the process: %v, want %s", err, want)
		}
		if _, err := client.CoreV1().ConfigMaps("shop").Create(t.Context(), shop("b", "x", "y"), metav1.CreateOptions{}); err == nil || err.Error() != want {
			t.Errorf("a request: %v, want %s", err, want)
		}
		if answer := s.Writer.Foresee(t.Context(), admission.Ask{View: s.Store, Object: shop("b", "x", "y")}); answer.Refused == nil || answer.Refused.Error() != want {
			t.Errorf("a plan: %v, want %s", answer.Refused, want)
		}
		if err := inside(shop("c", "x")); err != nil {
			t.Errorf("what is allowed: %v", err)
		}
		other := shop("d", "x", "y")
		other.Namespace = "default"
		if err := inside(other); err != nil {
			t.Errorf("in another namespace: %v", err)
		}
	})

	t.Run("changed by both kinds of patches", func(t *testing.T) {
		rules := []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: ofConfigMaps[0]}}
		rules[0].Operations = []admissionregistrationv1.OperationType{"CREATE"}
		in(t, s, &admissionregistrationv1.MutatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "stamp"},
			Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
				MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: rules}, ReinvocationPolicy: "Never",
				Mutations: []admissionregistrationv1.Mutation{
					{PatchType: "ApplyConfiguration", ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{Expression: "Object{metadata: Object.metadata{labels: {'team': namespaceObject.metadata.name}}}"}},
					{PatchType: "JSONPatch", JSONPatch: &admissionregistrationv1.JSONPatch{Expression: "[JSONPatch{op: 'add', path: '/data', value: {'by': request.userInfo.username}}]"}},
				},
			},
		})
		in(t, s, &admissionregistrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "stamp"}, Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: "stamp"}})
		if err := inside(configMap("stamped")); err != nil {
			t.Fatal(err)
		}
		cm := s.Store.Get(object.Key{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "default", Name: "stamped"}).(*corev1.ConfigMap)
		if cm.Labels["team"] != "default" || cm.Data["by"] != "system:serviceaccount:kube-system:test-controller" {
			t.Errorf("stored %v, %v", cm.Labels, cm.Data)
		}
		if cm, err := client.CoreV1().ConfigMaps("shop").Create(t.Context(), shop("stamped"), metav1.CreateOptions{}); err != nil || cm.Labels["team"] != "shop" || cm.Data["by"] != "kubernetes-admin" {
			t.Errorf("a request: %v, %+v", err, cm)
		}
	})

	// policy puts one with an expression about ConfigMaps into force.
	policy := func(t *testing.T, name, expression string, edit func(*admissionregistrationv1.ValidatingAdmissionPolicy), actions ...admissionregistrationv1.ValidationAction) {
		t.Helper()
		rules := []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: ofConfigMaps[0]}}
		p := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: rules}, Validations: []admissionregistrationv1.Validation{{Expression: expression}},
		}}
		if edit != nil {
			edit(p)
		}
		in(t, s, p)
		in(t, s, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: actions}})
	}

	t.Run("warned of", func(t *testing.T) {
		policy(t, "warn", "false", nil, admissionregistrationv1.Warn)
		if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("warned"), metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
		const want = "Validation failed for ValidatingAdmissionPolicy 'warn' with binding 'warn': failed expression: false"
		if !slices.Contains(warned.list, want) {
			t.Errorf("warnings %q, want %q", warned.list, want)
		}
	})

	t.Run("by what the user may do", func(t *testing.T) {
		policy(t, "may", "authorizer.group('').resource('secrets').namespace('default').check('get').allowed()", nil, admissionregistrationv1.Deny)
		if err := inside(configMap("may")); err == nil || !strings.Contains(err.Error(), "denied request: failed expression: authorizer") {
			t.Errorf("a controller: %v", err)
		}
		if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("may"), metav1.CreateOptions{}); err != nil {
			t.Errorf("the administrator: %v", err)
		}
	})

	t.Run("by parameters that its author may read", func(t *testing.T) {
		// Ada may write policies, and read nothing else.
		roles := `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: policies}
rules: [{apiGroups: [admissionregistration.k8s.io], resources: ["*"], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: policies}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: policies}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: ada}]
`
		if _, errOut, err := s.Kubectl(t, roles, "apply", "-f", "-"); err != nil {
			t.Fatal(err, errOut)
		}
		_, errOut, err := s.KubectlAs(t, s.KubeconfigFor(t, "ada"), strings.ReplaceAll(limit, "name: limit", "name: adas"), "create", "-f", "-")
		for _, want := range []string{
			`user ada must have "get" permission on all objects of the referenced paramKind (kind=ConfigMap, apiVersion=v1)`,
			`user ada does not have "get" permission on the object referenced by paramRef`,
		} {
			if err == nil || !strings.Contains(errOut, want) {
				t.Errorf("%v: %s, want %s", err, errOut, want)
			}
		}
	})

	t.Run("too expensive", func(t *testing.T) {
		// Each level multiplies what the library counts.
		const ten = "[1,2,3,4,5,6,7,8,9,10]"
		expression := "true"
		for _, v := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			expression = ten + ".all(" + v + ", " + expression + ")"
		}
		policy(t, "bomb", expression, nil, admissionregistrationv1.Deny)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := client.CoreV1().ConfigMaps("default").Create(ctx, configMap("expensive"), metav1.CreateOptions{})
		if err == nil || !strings.Contains(err.Error(), "cost") {
			t.Errorf("an expression of 10^8 steps: %v, want that it costs too much", err)
		}
	})

	t.Run("not what a policy is about", func(t *testing.T) {
		policy(t, "everything", "false", func(p *admissionregistrationv1.ValidatingAdmissionPolicy) {
			p.Spec.MatchConstraints.ResourceRules[0].Rule = admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*"}}
		}, admissionregistrationv1.Deny)
		if err := inside(configMap("nothing")); err == nil {
			t.Error("a ConfigMap was stored")
		}
		// It is deleted after the test: policies cannot keep themselves in force.
	})
}
