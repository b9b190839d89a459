package main

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

// A policy reads its parameters with all rights and may quote them: a tenant that
// may write policies gets by a commit no more of them than by the API.
func TestPoliciesOfTenants(t *testing.T) {
	w := startTenants(t)
	w.grant("a", "", "policies", rbacv1.PolicyRule{
		Verbs: []string{"get", "patch", "create", "delete"}, APIGroups: []string{"admissionregistration.k8s.io"},
		Resources: []string{"validatingadmissionpolicies", "validatingadmissionpolicybindings"},
	})
	const policy = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: reads}
spec:
  paramKind: {apiVersion: v1, kind: Secret}
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]}
  validations: [{expression: "false", messageExpression: "string(params.data.password)"}]
`
	const binding = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: reads}
spec: {policyName: reads, validationActions: [Deny], paramRef: {name: key, namespace: b, parameterNotFoundAction: Deny}}
`
	w.condition("a", w.push("a", policy), `must have "get" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)`)
	w.condition("a", w.push("a", binding), `does not have "get" permission on the object referenced by paramRef`)
	if w.get("ValidatingAdmissionPolicy", "", "reads") != nil || w.get("ValidatingAdmissionPolicyBinding", "", "reads") != nil {
		t.Error("the policy or its binding is stored")
	}
}
