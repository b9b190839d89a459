package api_test

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"headway.dev/engine/api/apitest"
	"headway.dev/engine/pki"
	"headway.dev/manifests/model/object"
)

// meteredNode is a node whose containers use a quarter of a CPU and 64 MiB, and which
// uses half a CPU and a GiB itself.
type meteredNode struct {
	testNode
	server *apitest.Server
	asks   atomic.Int32
}

func newMeteredNode(t *testing.T) *meteredNode {
	t.Helper()
	set, err := pki.Ensure(filepath.Join(t.TempDir(), "pki"), nil)
	if err != nil {
		t.Fatal(err)
	}
	m := &meteredNode{testNode: testNode{set: set}}
	certPEM, keyPEM, err := set.Server("system:node:n1", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(m.serve))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: set.Pool()}
	server.StartTLS()
	t.Cleanup(server.Close)
	m.port = server.Listener.Addr().(*net.TCPAddr).Port
	return m
}

func (m *meteredNode) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/stats/summary" {
		http.NotFound(w, r)
		return
	}
	m.asks.Add(1)
	now := time.Now().UTC().Truncate(time.Millisecond)
	used := func(share, bytes int64) string {
		at := now.Format(time.RFC3339Nano)
		return fmt.Sprintf(`"cpu":{"time":%q,"usageCoreNanoSeconds":%d},"memory":{"time":%q,"workingSetBytes":%d}`, at, now.UnixNano()/100*share, at, bytes)
	}
	var pods []string
	all, _ := m.server.Store.List(schema.GroupKind{Kind: "Pod"}, "")
	for _, obj := range all {
		pod := obj.(*corev1.Pod)
		var containers []string
		for _, c := range pod.Spec.Containers {
			containers = append(containers, fmt.Sprintf(`{"name":%q,%s}`, c.Name, used(25, 64<<20)))
		}
		if pod.Spec.NodeName == "n1" {
			pods = append(pods, fmt.Sprintf(`{"podRef":{"uid":%q},"containers":[%s]}`, pod.UID, strings.Join(containers, ",")))
		}
	}
	fmt.Fprintf(w, `{"node":{"nodeName":"n1",%s},"pods":[%s]}`, used(50, 1<<30), strings.Join(pods, ","))
}

// What nodes and pods use is served with nothing installed, to whoever may read it, and
// asked of the nodes only once somebody wants to know. A node without a machine is not
// asked. An APIService of a user takes the place of all that.
func TestTop(t *testing.T) {
	n1 := newMeteredNode(t)
	s := apitest.Start(t, n1.trusted)
	n1.server = s
	n1.join(t, s, map[string][]string{"one": {"main"}, "two": {"a", "b"}})
	kubectl(t, s, `apiVersion: v1
kind: Node
metadata: {name: h1, labels: {headway.dev/hollow: "true"}}
---
apiVersion: v1
kind: Pod
metadata: {name: pretends, labels: {app: hollow}}
spec:
  nodeName: h1
  containers: [{name: main, image: example.com/c, resources: {requests: {cpu: 300m, memory: 32Mi}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: waits}
spec: {containers: [{name: main, image: example.com/c}]}
`, "create", "-f", "-")
	kubectl(t, s, "", "patch", "pod", "pretends", "--subresource=status", "-p", `{"status":{"phase":"Running"}}`)
	for _, name := range []string{"n1", "h1"} {
		kubectl(t, s, "", "patch", "node", name, "--subresource=status", "-p", `{"status":{"allocatable":{"cpu":"2","memory":"2Gi"},"capacity":{"cpu":"2","memory":"2Gi"}}}`)
	}
	if n := n1.asks.Load(); n != 0 {
		t.Errorf("the node was asked %d times before somebody wanted to know", n)
	}

	spaces := regexp.MustCompile(` +`)
	for _, c := range []struct{ args, want string }{
		{"top nodes", "NAME CPU(cores) CPU(%) MEMORY(bytes) MEMORY(%)\nh1 300m 15% 32Mi 1%\nn1 500m 25% 1024Mi 50%\n"},
		{"top node n1 --no-headers", "n1 500m 25% 1024Mi 50%\n"},
		{"top pods", "NAME CPU(cores) MEMORY(bytes)\none 250m 64Mi\npretends 300m 32Mi\ntwo 500m 128Mi\n"},
		{"top pods --sort-by=cpu --no-headers", "two 500m 128Mi\npretends 300m 32Mi\none 250m 64Mi\n"},
		{"top pods --containers --no-headers", "one main 250m 64Mi\npretends main 300m 32Mi\ntwo a 250m 64Mi\ntwo b 250m 64Mi\n"},
		{"top pods -l app=hollow --no-headers -A", "default pretends 300m 32Mi\n"},
		{"get pods.metrics.k8s.io one --no-headers -o custom-columns=N:.metadata.name,C:.containers[*].name", "one main\n"},
	} {
		got := spaces.ReplaceAllString(kubectl(t, s, "", strings.Fields(c.args)...), " ")
		if got = strings.ReplaceAll(got, " \n", "\n"); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.args, got, c.want)
		}
	}
	refuse(t, s, "", args("get --raw /apis/metrics.k8s.io/v1beta1/namespaces/default/pods/waits"), `pods.metrics.k8s.io "default/waits" not found`)
	refuse(t, s, "", args("get --raw /apis/metrics.k8s.io/v1beta1/nodes/n9"), `nodes.metrics.k8s.io "n9" not found`)
	expect(t, s, "", args("api-resources --api-group=metrics.k8s.io --no-headers"), "nodes", "metrics.k8s.io/v1beta1", "NodeMetrics", "PodMetrics")
	expect(t, s, "", args("get apiservice v1beta1.metrics.k8s.io --no-headers"), "Local", "True")
	expect(t, s, "", args("explain podmetrics.containers.usage --api-version=metrics.k8s.io/v1beta1"), "memory working set")
	jane := s.KubeconfigFor(t, "jane")
	if _, errOut, err := s.KubectlAs(t, jane, "", "top", "pods"); err == nil || !strings.Contains(errOut, `cannot list resource "pods" in API group "metrics.k8s.io"`) {
		t.Errorf("who may read nothing: %v, %s", err, errOut)
	}

	// metrics-server takes over, as an APIService that is edited, and hands it back.
	var mu sync.Mutex
	var asked []string
	theirs := tlsServer(t, s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path)
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/v1beta1") {
			fmt.Fprint(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"metrics.k8s.io/v1beta1","resources":[{"name":"pods","namespaced":true,"kind":"PodMetrics","verbs":["get","list"]}]}`)
			return
		}
		fmt.Fprint(w, `{"kind":"PodMetricsList","apiVersion":"metrics.k8s.io/v1beta1","items":[{"metadata":{"name":"theirs","namespace":"default"},"containers":[{"name":"c","usage":{"cpu":"1","memory":"1Mi"}}]}]}`)
	}), "metrics-server")
	serveMetrics(t, s, theirs)
	eventually(t, "metrics-server answers", func() bool {
		out, _, err := s.Kubectl(t, "", "top", "pods", "--no-headers")
		return err == nil && strings.HasPrefix(out, "theirs")
	})
	kubectl(t, s, "", "delete", "apiservice", "v1beta1.metrics.k8s.io")
	eventually(t, "the server answers itself again", func() bool {
		out, _, err := s.Kubectl(t, "", "top", "pods", "--no-headers")
		return err == nil && strings.HasPrefix(out, "one")
	})
	key := object.Key{GroupKind: schema.GroupKind{Group: apiregistrationv1.GroupName, Kind: "APIService"}, Name: "v1beta1.metrics.k8s.io"}
	eventually(t, "the APIService is the server's own", func() bool {
		own, _ := s.Store.Get(key).(*apiregistrationv1.APIService)
		return own != nil && own.Spec.Service == nil
	})
}

// serveMetrics has metrics.k8s.io handed on to a server.
func serveMetrics(t *testing.T, s *apitest.Server, to *httptest.Server) {
	t.Helper()
	service := serviceFor("metrics-server")
	put(t, s, service, sliceFor(t, service.Name, to))
	patch := fmt.Sprintf(`{"spec":{"service":{"namespace":"default","name":"metrics-server","port":443},"caBundle":%q}}`, base64.StdEncoding.EncodeToString(s.PKI.CACert))
	kubectl(t, s, "", "patch", "apiservice", "v1beta1.metrics.k8s.io", "--type=merge", "-p", patch)
}
