package api_test

import (
	"strings"
	"testing"

	"headway.dev/engine/api/apitest"
)

const resizable = `apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeName: n1
  containers:
  - name: app
    image: example.com/app
    resources: {requests: {cpu: 500m, memory: 128Mi}, limits: {cpu: "1", memory: 256Mi}}
`

func resizeTo(text string) []string {
	return []string{"patch", "pod", "web", "--subresource=resize", "-p", `{"spec":{"containers":[{"name":"app","resources":` + text + `}]}}`}
}

// A pod is resized by its subresource alone, which changes nothing else and is
// admitted as Kubernetes admits it. (What is valid is tested with the rules.)
func TestResize(t *testing.T) {
	s := apitest.Start(t)
	kubectl(t, s, `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1","labels":{"kubernetes.io/os":"linux"}}}`, "create", "-f", "-")
	kubectl(t, s, "", "patch", "node", "n1", "--subresource=status", "-p", `{"status":{"allocatable":{"cpu":"2","memory":"1Gi"}}}`)
	kubectl(t, s, resizable, "apply", "-f", "-")
	shown := func() string {
		return kubectl(t, s, "", "get", "pod", "web", "-o", "jsonpath={.metadata.generation} {.metadata.labels.app} {.spec.containers[0].image} {.spec.containers[0].resources}")
	}
	refuse(t, s, "", []string{"patch", "pod", "web", "-p", `{"spec":{"containers":[{"name":"app","resources":{"requests":{"cpu":"600m"}}}]}}`},
		"spec: Forbidden: pod updates may not change fields other than")
	kubectl(t, s, "", append(resizeTo(`{"requests":{"cpu":"600m"}}`), "--dry-run=server")...)
	if got := shown(); !strings.HasPrefix(got, "1 ") {
		t.Errorf("after a dry run: %s", got)
	}
	kubectl(t, s, "", "patch", "pod", "web", "--subresource=resize", "-p",
		`{"metadata":{"labels":{"app":"other"}},"spec":{"containers":[{"name":"app","image":"example.com/other","resources":{"requests":{"cpu":"600m"},"limits":{"memory":"200Mi"}}}]}}`)
	if got, want := shown(), `2 web example.com/app {"limits":{"cpu":"1","memory":"200Mi"},"requests":{"cpu":"600m","memory":"128Mi"}}`; got != want {
		t.Errorf("after a resize with more in it: %s\nwant %s", got, want)
	}
	kubectl(t, s, "", resizeTo(`{"requests":{"cpu":"600m"}}`)...)
	if got := shown(); !strings.HasPrefix(got, "2 ") {
		t.Errorf("after a resize that changes nothing: %s", got)
	}
	expect(t, s, "", args("get --raw /api/v1/namespaces/default/pods/web/resize"), `"kind":"Pod"`, `"cpu":"600m"`)
	// Who applies it owns the resources, and nothing else of the pod.
	kubectl(t, s, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","labels":{"x":"y"}},"spec":{"containers":[{"name":"app","resources":{"requests":{"cpu":"700m"}}}]}}`,
		"apply", "--server-side", "--force-conflicts", "--field-manager=sizer", "--subresource=resize", "-f", "-")
	owned := kubectl(t, s, "", "get", "pod", "web", "--show-managed-fields", "-o", `jsonpath={.metadata.managedFields[?(@.manager=="sizer")]}`)
	if !strings.Contains(owned, `"f:resources":{"f:requests":{"f:cpu":{}}}`) || strings.Contains(owned, "f:labels") || strings.Contains(owned, "f:image") || !strings.Contains(owned, `"subresource":"resize"`) {
		t.Errorf("who applied a resize owns %s", owned)
	}
	refuse(t, s, "", resizeTo(`{"requests":{"cpu":null,"memory":null},"limits":null}`), "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed")

	// More than the node has for all pods.
	refuse(t, s, "", resizeTo(`{"requests":{"cpu":"3","memory":"2Gi"},"limits":{"cpu":"3","memory":"3Gi"}}`),
		`pods "web" is forbidden: Node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824`)
	// The limits of the namespace, and its quotas, which count what is asked for.
	kubectl(t, s, `{"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"bounds"},"spec":{"limits":[{"type":"Container","max":{"cpu":"1500m"}}]}}`, "create", "-f", "-")
	refuse(t, s, "", resizeTo(`{"limits":{"cpu":"1600m"}}`), `pods "web" is forbidden: maximum cpu usage per Container is 1500m, but limit is 1600m`)
	kubectl(t, s, "", "delete", "limitrange", "bounds")
	kubectl(t, s, "", "create", "quota", "team", "--hard=requests.cpu=1")
	used := func() string {
		return kubectl(t, s, "", "get", "quota", "team", "-o", "jsonpath={.status.used}")
	}
	if got := used(); got != `{"requests.cpu":"700m"}` {
		t.Errorf("used before: %s", got)
	}
	const exceeded = `pods "web" is forbidden: exceeded quota: team, requested: requests.cpu=500m, used: requests.cpu=700m, limited: requests.cpu=1`
	refuse(t, s, "", resizeTo(`{"requests":{"cpu":"1200m"},"limits":{"cpu":"1200m"}}`), exceeded)
	refuse(t, s, "", append(resizeTo(`{"requests":{"cpu":"1200m"},"limits":{"cpu":"1200m"}}`), "--dry-run=server"), exceeded)
	kubectl(t, s, "", resizeTo(`{"requests":{"cpu":"900m"}}`)...)
	if got := used(); got != `{"requests.cpu":"900m"}` {
		t.Errorf("used after: %s", got)
	}
	// What the node has given still counts until it is taken back.
	kubectl(t, s, "", "patch", "pod", "web", "--subresource=status", "-p", `{"status":{"containerStatuses":[{"name":"app","image":"a","imageID":"b","ready":true,"restartCount":0,
		"allocatedResources":{"cpu":"900m","memory":"128Mi"},"resources":{"requests":{"cpu":"900m","memory":"128Mi"}}}]}}`)
	kubectl(t, s, "", resizeTo(`{"requests":{"cpu":"300m"}}`)...)
	if got := used(); got != `{"requests.cpu":"900m"}` {
		t.Errorf("used while it shrinks: %s", got)
	}
	kubectl(t, s, "", "patch", "pod", "web", "--subresource=status", "-p", `{"status":{"containerStatuses":[{"name":"app","allocatedResources":{"cpu":"300m"},"resources":{"requests":{"cpu":"300m"}}}]}}`)
	if got := used(); got != `{"requests.cpu":"300m"}` {
		t.Errorf("used when it is smaller: %s", got)
	}

	// It takes a right of its own, which edit has.
	kubectl(t, s, "", "create", "clusterrole", "pods", "--verb=get,patch", "--resource=pods")
	kubectl(t, s, "", "create", "clusterrolebinding", "pods", "--clusterrole=pods", "--user=jane")
	jane := s.KubeconfigFor(t, "jane")
	refuseAs(t, s, jane, `resource "pods/resize" in API group ""`, resizeTo(`{"requests":{"cpu":"400m"}}`)...)
	kubectl(t, s, "", "create", "rolebinding", "editors", "--clusterrole=edit", "--user=jane")
	if _, errOut, err := s.KubectlAs(t, jane, "", resizeTo(`{"requests":{"cpu":"400m"}}`)...); err != nil {
		t.Errorf("with the role edit: %v, %s", err, errOut)
	}
}

// Policies see the subresource.
func TestResizeIsAdmitted(t *testing.T) {
	s := apitest.Start(t)
	kubectl(t, s, strings.Replace(resizable, "  nodeName: n1\n", "", 1), "apply", "-f", "-")
	kubectl(t, s, `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: small}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [UPDATE], resources: [pods/resize]}]}
  validations: [{expression: 'object.spec.containers.all(c, quantity(c.resources.requests["cpu"]).isLessThan(quantity("800m")))', message: too large}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: small}
spec: {policyName: small, validationActions: [Deny]}
`, "apply", "-f", "-")
	refuse(t, s, "", resizeTo(`{"requests":{"cpu":"900m"}}`), "too large")
	kubectl(t, s, "", resizeTo(`{"requests":{"cpu":"700m"}}`)...)
	kubectl(t, s, "", "label", "pod", "web", "tier=front")
}
