package main

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

const (
	gadgets = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: gadgets.example.com
spec:
  group: example.com
  scope: Namespaced
  names: {plural: gadgets, singular: gadget, kind: Gadget}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, maximum: 10}
              color: {type: string, default: red}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
`
	gadget = `apiVersion: example.com/v1
kind: Gadget
metadata:
  name: one
  namespace: shop
spec:
  size: 1
`
	shopSpace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n"
	policy    = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: even
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [example.com], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [gadgets]}
  validations:
  - {expression: "object.spec.size % 2 == 0", message: "the size must be even"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: even
spec:
  policyName: even
  validationActions: [Deny]
`
)

// A namespace, a definition and a resource come in one commit; kubectl serves them;
// admission and the schema refuse commits; and all of it goes in one commit, with the
// definition's own clean-up.
func TestCustomResourcesFromGit(t *testing.T) {
	c := newWritesCluster(t, "heal", map[string]string{"gadget.yaml": gadget, "crd.yaml": gadgets, "shop.yaml": shopSpace})
	kubectl := func(args ...string) string {
		out, _ := c.try("", "", "kubectl", args...)
		return out
	}
	c.eventually("kubectl finds the gadget", func() bool {
		return kubectl("get", "gadgets", "-n", "shop", "one", "-o", "jsonpath={.spec.size} {.spec.color} {.metadata.generation}") == "1 red 1"
	})
	push := func(files map[string]string) {
		t.Helper()
		c.write(files)
		c.run(c.work, "git", "add", "-A")
		c.run(c.work, "git", "commit", "-q", "-m", "Go on")
		c.run(c.work, "git", "push", "-q", "origin", "main")
	}
	ready := func() string {
		for _, cond := range c.ks().Status.Conditions {
			if cond.Type == "Ready" {
				return cond.Message
			}
		}
		return ""
	}
	refused := func(why string) {
		t.Helper()
		c.eventually(why, func() bool { return strings.Contains(ready(), why) })
	}
	push(map[string]string{"gadget.yaml": strings.Replace(gadget, "size: 1", "size: 11", 1), "more.yaml": "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: more\n"})
	refused("gadget.yaml:7: Gadget shop/one: spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10")
	if got := kubectl("get", "namespace", "more"); !strings.Contains(got, "NotFound") {
		t.Errorf("the namespace of the refused commit: %s", got)
	}
	push(map[string]string{"gadget.yaml": strings.Replace(gadget, "size: 1", "sise: 1", 1)})
	refused("gadget.yaml:7: Gadget shop/one: spec.sise: unknown field")

	push(map[string]string{"gadget.yaml": strings.Replace(gadget, "size: 1", "size: 2", 1), "policy.yaml": policy})
	c.eventually("size 2", func() bool {
		return kubectl("get", "gadgets", "-n", "shop", "one", "-o", "jsonpath={.spec.size}") == "2"
	})
	// What is put in by hand is healed, a status stays.
	c.run("", "kubectl", "patch", "gadget", "-n", "shop", "one", "--type=merge", "-p", `{"spec":{"size":4}}`)
	c.run("", "kubectl", "patch", "gadget", "-n", "shop", "one", "--type=merge", "--subresource=status", "-p", `{"status":{"word":"fine"}}`)
	c.eventually("size 2 again", func() bool {
		return kubectl("get", "gadgets", "-n", "shop", "one", "-o", "jsonpath={.spec.size} {.status.word}") == "2 fine"
	})
	push(map[string]string{"gadget.yaml": strings.Replace(gadget, "size: 1", "size: 3", 1)})
	refused("the size must be even")

	c.run(c.work, "git", "rm", "-q", "gadget.yaml", "crd.yaml", "shop.yaml")
	push(nil)
	key := object.Key{GroupKind: schema.GroupKind{Group: "example.com", Kind: "Gadget"}, Namespace: "shop", Name: "one"}
	c.eventually("all of it is gone", func() bool {
		_, there := c.Engine.Store().Get(key).(*unstructured.Unstructured)
		return !there && strings.Contains(kubectl("get", "crd", "gadgets.example.com"), "NotFound") && strings.Contains(kubectl("get", "namespace", "shop"), "NotFound")
	})
}
