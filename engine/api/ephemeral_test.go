package api_test

import (
	"strings"
	"testing"

	"headway.dev/engine/api/apitest"
)

// kubectl debug adds a container to a pod; the subresource changes nothing else,
// and nothing that was added before.
func TestEphemeralContainers(t *testing.T) {
	s := apitest.Start(t)
	kubectl(t, s, `apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers: [{name: app, image: example.com/app}]
  volumes: [{name: v, emptyDir: {}}]
`, "apply", "-f", "-")
	generation := func() string { return kubectl(t, s, "", "get", "pod", "web", "-o", "jsonpath={.metadata.generation}") }
	expect(t, s, "", args("debug web --image=example.com/tools --target=app --container=debug -- sh"), "Targeting container \"app\"")
	expect(t, s, "", args("get pod web -o jsonpath={.spec.ephemeralContainers}"),
		`"command":["sh"]`, `"image":"example.com/tools"`, `"imagePullPolicy":"Always"`, `"name":"debug"`, `"targetContainerName":"app"`, `"terminationMessagePath":"/dev/termination-log"`)
	if got := generation(); got != "2" {
		t.Errorf("the generation is %s, want 2", got)
	}
	expect(t, s, "", args("get --raw /api/v1/namespaces/default/pods/web/ephemeralcontainers"), `"kind":"Pod"`, `"name":"debug"`)

	patch := func(text string) []string {
		return []string{"patch", "pod", "web", "--subresource=ephemeralcontainers", "-p", text}
	}
	for text, want := range map[string]string{
		`{"spec":{"ephemeralContainers":[{"name":"debug","image":"example.com/other"}]}}`:                                            `existing ephemeral containers "debug" may not be changed`,
		`{"spec":{"ephemeralContainers":[{"name":"debug","$patch":"delete"}]}}`:                                                      `existing ephemeral containers "debug" may not be removed`,
		`{"spec":{"ephemeralContainers":[{"name":"app","image":"a"}]}}`:                                                              `spec.ephemeralContainers[0].name: Duplicate value: "app"`,
		`{"spec":{"ephemeralContainers":[{"name":"two","image":"a","targetContainerName":"none"}]}}`:                                 `targetContainerName: Not found: "none"`,
		`{"spec":{"ephemeralContainers":[{"name":"two","image":"a","ports":[{"containerPort":80}]}]}}`:                               `ports: Forbidden: cannot be set for an Ephemeral Container`,
		`{"spec":{"ephemeralContainers":[{"name":"two","image":"a","volumeMounts":[{"name":"v","mountPath":"/v","subPath":"x"}]}]}}`: `volumeMounts[0].subPath: Forbidden: cannot be set for an Ephemeral Container`,
		`{"spec":{"ephemeralContainers":[{"name":"two","image":"a","volumeMounts":[{"name":"none","mountPath":"/v"}]}]}}`:            `volumeMounts[0].name: Not found: "none"`,
		`{"spec":{"ephemeralContainers":[{"name":"two","image":"a","readinessProbe":{"exec":{"command":["true"]}}}]}}`:               `readinessProbe: Forbidden: cannot be set for an Ephemeral Container`,
		`{"spec":{"ephemeralContainers":[{"name":"two","image":"a","resources":{"limits":{"cpu":"1"}}}]}}`:                           `resources: Forbidden: cannot be set for an Ephemeral Container`,
		`{"spec":{"ephemeralContainers":[{"name":"two","image":"a","restartPolicy":"Always"}]}}`:                                     `restartPolicy: Forbidden: cannot be set for an Ephemeral Container`,
		`{"metadata":{"resourceVersion":"1"},"spec":{"ephemeralContainers":[{"name":"two","image":"a"}]}}`:                           "the object has been modified",
	} {
		refuse(t, s, "", patch(text), want)
	}
	refuse(t, s, "", []string{"patch", "pod", "web", "-p", `{"spec":{"ephemeralContainers":[{"name":"two","image":"a"}]}}`}, "pod updates may not change fields other than")

	// Whatever else is in the request is not taken.
	kubectl(t, s, "", patch(`{"metadata":{"labels":{"app":"other"}},"spec":{"containers":[{"name":"app","image":"example.com/other"}],"ephemeralContainers":[{"name":"two","image":"example.com/tools"}]}}`)...)
	if got := kubectl(t, s, "", "get", "pod", "web", "-o", "jsonpath={.metadata.labels.app} {.spec.containers[*].image} {.spec.ephemeralContainers[*].name}"); got != "web example.com/app two debug" {
		t.Errorf("after a request with more in it: %q", got)
	}
	// Who applies it owns the containers, and nothing else of the pod.
	kubectl(t, s, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","labels":{"x":"y"}},"spec":{"ephemeralContainers":[{"name":"three","image":"example.com/tools"}]}}`,
		"apply", "--server-side", "--field-manager=debugger", "--subresource=ephemeralcontainers", "-f", "-")
	owned := kubectl(t, s, "", "get", "pod", "web", "--show-managed-fields", "-o", `jsonpath={.metadata.managedFields[?(@.manager=="debugger")]}`)
	if !strings.Contains(owned, `"f:ephemeralContainers"`) || strings.Contains(owned, "f:labels") || !strings.Contains(owned, `"subresource":"ephemeralcontainers"`) {
		t.Errorf("who applied an ephemeral container owns %s", owned)
	}

	// It takes a right of its own, and Pod Security looks at it.
	kubectl(t, s, "", "create", "clusterrole", "pods", "--verb=get,patch", "--resource=pods")
	kubectl(t, s, "", "create", "clusterrolebinding", "pods", "--clusterrole=pods", "--user=jane")
	if _, errOut, err := s.KubectlAs(t, s.KubeconfigFor(t, "jane"), "", args("debug web --image=example.com/tools -- sh")...); err == nil || !strings.Contains(errOut, `cannot patch resource "pods/ephemeralcontainers"`) {
		t.Errorf("without the right: %v, %s", err, errOut)
	}
	kubectl(t, s, "", "label", "namespace", "default", "pod-security.kubernetes.io/enforce=baseline")
	refuse(t, s, "", patch(`{"spec":{"ephemeralContainers":[{"name":"four","image":"a","securityContext":{"privileged":true}}]}}`),
		`violates PodSecurity "baseline:latest": privileged (container "four" must not set securityContext.privileged=true)`)
}
