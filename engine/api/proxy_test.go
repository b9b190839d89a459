package api_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/engine/api/apitest"
)

// echo answers with what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	body := sha256.New()
	n, _ := io.Copy(body, r.Body)
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, "%s %s?%s %d %.4x auth=%q\n", r.Method, r.URL.EscapedPath(), r.URL.RawQuery, n, body.Sum(nil), r.Header.Get("Authorization"))
}

// What is asked of a proxy subresource reaches the node as it is: method, path,
// query and a body larger than the API's own bound, but not who asked; the answer
// comes back as it is. Addresses that nobody may ask through the server are refused.
func TestProxySubresources(t *testing.T) {
	n1 := newNode(t)
	s := apitest.Start(t, n1.trusted)
	n1.join(t, s, map[string][]string{"one": {"main"}, "two": {"main"}})
	config := rest.CopyConfig(s.Config)
	config.QPS = -1
	client := kubernetes.NewForConfigOrDie(config).CoreV1()
	ask := func(verb, path, body string) (string, int, error) {
		var code int
		raw, err := client.RESTClient().Verb(verb).AbsPath(path).Param("x", "1 2").Body(strings.NewReader(body)).SetHeader("Authorization", "Bearer secret").Do(t.Context()).StatusCode(&code).Raw()
		return string(raw), code, err
	}
	sizes := map[string]int{http.MethodPost: 4 << 20}
	for _, verb := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		big := strings.Repeat("x", sizes[verb]+1)
		for _, name := range []string{"n1", fmt.Sprintf("n1:%d", n1.port), fmt.Sprintf("https:n1:%d", n1.port)} {
			got, code, err := ask(verb, "/api/v1/nodes/"+name+"/proxy/echo/a/b/", big)
			if want := fmt.Sprintf("%s /echo/a/b/?x=1+2 %d %.4x auth=\"\"\n", verb, len(big), sha256.Sum256([]byte(big))); err != nil || code != http.StatusAccepted || got != want {
				t.Fatalf("%s of %s: %d %v\n%s\nwant\n%s", verb, name, code, err, got, want)
			}
		}
	}
	if got := kubectl(t, s, "", "get", "--raw", "/api/v1/nodes/n1/proxy/containerLogs/default/one/main?tailLines=3"); got != "log of main tail=3\n" {
		t.Errorf("a log by the node's proxy: %q", got)
	}

	// A user needs nodes/proxy, pods/proxy or services/proxy, by the method's verb.
	kubectl(t, s, "", "create", "clusterrole", "look", "--verb=get", "--resource=nodes/proxy")
	kubectl(t, s, "", "create", "clusterrolebinding", "look", "--clusterrole=look", "--user=jane")
	jane := s.KubeconfigFor(t, "jane")
	if out, errOut, err := s.KubectlAs(t, jane, "", "get", "--raw", "/api/v1/nodes/n1/proxy/echo/"); err != nil || !strings.HasPrefix(out, "GET /echo/") {
		t.Errorf("who may get nodes/proxy: %q, %s, %v", out, errOut, err)
	}
	if _, errOut, err := s.KubectlAs(t, jane, "", "create", "--raw", "/api/v1/nodes/n1/proxy/echo/", "-f", "/dev/null"); err == nil || !strings.Contains(errOut, `cannot create resource "nodes/proxy"`) {
		t.Errorf("who may only get nodes/proxy creates: %v, %s", err, errOut)
	}
	if _, errOut, err := s.KubectlAs(t, jane, "", "get", "--raw", "/api/v1/namespaces/default/pods/one/proxy/"); err == nil || !strings.Contains(errOut, `cannot get resource "pods/proxy"`) {
		t.Errorf("who may not get pods/proxy: %v, %s", err, errOut)
	}

	endpoints := func(service, targets string) {
		t.Helper()
		kubectl(t, s, fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {clusterIP: None, ports: [{name: web, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: web, port: 8080}]
endpoints: [%[2]s]
`, service, targets), "apply", "-f", "-")
	}
	for name, ip := range map[string]string{"one": "127.0.0.1", "two": "10.9.9.9"} {
		pod, err := client.Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pod.Status.PodIP, pod.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
		if _, err := client.Pods("default").UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	endpoints("none", "")
	endpoints("elsewhere", "{addresses: [10.9.9.9]}")
	endpoints("lying", "{addresses: [10.9.9.8], targetRef: {kind: Pod, namespace: default, name: two}}")
	endpoints("starting", "{addresses: [10.9.9.9], conditions: {ready: false}, targetRef: {kind: Pod, namespace: default, name: two}}")
	for path, want := range map[string]string{
		"nodes/n9/proxy/":                                 `nodes "n9" not found`,
		"nodes/a:b:c:d/proxy/":                            `invalid node request "a:b:c:d"`,
		"nodes/n1:1/proxy/":                               "address not allowed",
		"namespaces/default/pods/none/proxy/":             `pods "none" not found`,
		"namespaces/default/pods/one/proxy/":              "address not allowed",
		"namespaces/default/pods/ftp:one:80/proxy/":       `invalid pod request "ftp:one:80"`,
		"namespaces/default/services/lacks/proxy/":        `services "lacks" not found`,
		"namespaces/default/services/ftp:none:80/proxy/":  `invalid service request "ftp:none:80"`,
		"namespaces/default/services/none:81/proxy/":      `no service port 81 found for service "none"`,
		"namespaces/default/services/none:80/proxy/":      `no endpoints available for service "none:80"`,
		"namespaces/default/services/none:web/proxy/":     `no endpoints available for service "none:web"`,
		"namespaces/default/services/elsewhere:80/proxy/": `no endpoints available for service "elsewhere:80"`,
		"namespaces/default/services/lying:80/proxy/":     `no endpoints available for service "lying:80"`,
		"namespaces/default/services/starting:80/proxy/":  `no endpoints available for service "starting:80"`,
	} {
		if got, code, err := ask(http.MethodGet, "/api/v1/"+path, ""); err == nil || !strings.Contains(got, strings.ReplaceAll(want, `"`, `\"`)) {
			t.Errorf("%s: %d %s, want %q", path, code, got, want)
		}
	}
}
