package api_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
)

// Runtime classes as kubectl shows them, and what their pods get of them.
func TestRuntimeClasses(t *testing.T) {
	s := apitest.Start(t)
	const class = "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: boxed}\nhandler: kata\noverhead: {podFixed: {cpu: 250m}}\nscheduling: {nodeSelector: {boxed: \"yes\"}}\n"
	expect(t, s, class, args("create -f -"), "runtimeclass.node.k8s.io/boxed created")
	expect(t, s, "", args("get runtimeclasses"), "NAME    HANDLER   AGE\nboxed   kata ")
	refuse(t, s, "", []string{"patch", "runtimeclass", "boxed", "-p", `{"handler":"runc"}`}, `handler: Invalid value: "runc": field is immutable`)
	expect(t, s, strings.Replace(class, "250m", "500m", 1), args("apply --server-side --force-conflicts -f -"), "serverside-applied")
	expect(t, s, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"runtimeClassName":"boxed","containers":[{"name":"c","image":"i"}]}}`, args("create -f -"), "created")
	expect(t, s, "", args("get pod p -o jsonpath={.spec.overhead.cpu},{.spec.nodeSelector.boxed}"), "500m,yes")
	expect(t, s, "", args("explain runtimeclass.scheduling.tolerations"), "tolerations")
	expect(t, s, "", args("delete runtimeclass boxed"), "deleted")
}

// TestPodsRefused: what Kubernetes refuses of pods, in its words.
func TestPodsRefused(t *testing.T) {
	s := apitest.Start(t)
	const runtimeClass = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"runtimeClassName":"gvisor","containers":[{"name":"c","image":"i"}]}}`
	refuse(t, s, runtimeClass, []string{"create", "-f", "-"}, `pods "p" is forbidden: pod rejected: RuntimeClass "gvisor" not found`)

	client := kubernetes.NewForConfigOrDie(s.Config)
	gated := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "gated"}, Spec: corev1.PodSpec{
		SchedulingGates: []corev1.PodSchedulingGate{{Name: "example.com/wait"}}, Containers: []corev1.Container{{Name: "c", Image: "i"}},
	}}
	if _, err := client.CoreV1().Pods("default").Create(t.Context(), gated, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "gated"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
	err := client.CoreV1().Pods("default").Bind(t.Context(), binding, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "pod gated has non-empty .spec.schedulingGates") {
		t.Errorf("bind a gated pod: %v", err)
	}
}

const privileged = `{"securityContext":{"privileged":true},"name":"c","image":"i"}`

// TestPodSecurity: the labels of a namespace hold its pods to a level, a
// Deployment is warned of, and where a Kustomization acts as an account, it is
// baseline unless the labels say otherwise.
func TestPodSecurity(t *testing.T) {
	s := apitest.Start(t)
	pod := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[` + privileged + `]}}`
	deployment := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},
		"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[` + privileged + `]}}}}`
	const violated = `violate PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)`
	for _, ns := range []string{"labelled", "free", "team", "trusted"} {
		kubectl(t, s, "", "create", "namespace", ns)
	}
	kubectl(t, s, "", "label", "namespace", "labelled", "pod-security.kubernetes.io/enforce=baseline")
	kubectl(t, s, "", "label", "namespace", "trusted", "pod-security.kubernetes.io/enforce=privileged")
	for _, ns := range []string{"team", "trusted"} {
		kubectl(t, s, `{"apiVersion":"kustomize.toolkit.fluxcd.io/v1","kind":"Kustomization","metadata":{"name":"app","namespace":"`+ns+`"},
			"spec":{"interval":"10m","prune":true,"serviceAccountName":"deployer","sourceRef":{"kind":"GitRepository","name":"app"}}}`, "create", "-f", "-")
	}
	for _, ns := range []string{"labelled", "team"} {
		refuse(t, s, pod, []string{"create", "-n", ns, "-f", "-"}, `pods "p" is forbidden: `+strings.Replace(violated, "violate", "violates", 1))
		_, stderr, err := s.Kubectl(t, deployment, "create", "-n", ns, "-f", "-")
		if err != nil || !strings.Contains(stderr, "Warning: would "+violated) {
			t.Errorf("%s: a Deployment of privileged pods: %v, %q", ns, err, stderr)
		}
	}
	for _, ns := range []string{"free", "trusted"} {
		kubectl(t, s, pod, "create", "-n", ns, "-f", "-")
	}
	refuse(t, s, "", []string{"label", "namespace", "free", "pod-security.kubernetes.io/enforce=strict"}, `metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict"`)
}

// PodSecurity names the pod that it refuses as Kubernetes does: by the name that
// was generated for it, where the checks that come before have only the prefix.
func TestPodSecurityNamesThePod(t *testing.T) {
	s := apitest.Start(t)
	expect(t, s, "", args("label namespace default pod-security.kubernetes.io/enforce=baseline"), "labeled")
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {%s}\nspec: {hostNetwork: true, containers: [{name: c, image: example.com/c}]}\n"
	for metadata, want := range map[string]string{
		"name: web":          `pods "web" is forbidden: violates PodSecurity "baseline:latest": host namespaces \(hostNetwork=true\)`,
		"generateName: web-": `pods "web-[a-z0-9]{5}" is forbidden: violates PodSecurity "baseline:latest": host namespaces \(hostNetwork=true\)`,
	} {
		_, errOut, err := s.Kubectl(t, fmt.Sprintf(pod, metadata), args("create -f -")...)
		if err == nil || !regexp.MustCompile(want).MatchString(errOut) {
			t.Errorf("%s: got %v %q, want %s", metadata, err, errOut, want)
		}
	}
}
