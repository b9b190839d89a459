package api_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"headway.dev/engine/api/apitest"
	"headway.dev/engine/pki"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const flunders = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: flunders.wardle.example.com}
spec:
  group: wardle.example.com
  scope: Namespaced
  names: {plural: flunders, singular: flunder, kind: Flunder, shortNames: [fl]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer, description: how large it is}}}
`

// extension is an extension API server: what stands in front of one that serves
// flunders, and believes whom requests are from if they come with the certificate of
// the front proxy, as Kubernetes' own library for such servers does.
type extension struct {
	*httptest.Server
	behind *apitest.Server

	mu   sync.Mutex
	asks []string
}

func newExtension(t *testing.T, s *apitest.Server) *extension {
	t.Helper()
	e := &extension{behind: apitest.Start(t)}
	kubectl(t, e.behind, flunders, "create", "-f", "-")
	e.Server = tlsServer(t, s, http.HandlerFunc(e.serve), "wardle")
	return e
}

// tlsServer serves for the Service of a name, and wants the certificate of the front
// proxy.
func tlsServer(t *testing.T, s *apitest.Server, handler http.Handler, service string) *httptest.Server {
	t.Helper()
	cert, key, err := s.PKI.Server(service, service+".default.svc")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: s.FrontProxy.Pool(), ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func (e *extension) serve(w http.ResponseWriter, r *http.Request) {
	name, groups := r.Header.Get("X-Remote-User"), r.Header.Values("X-Remote-Group")
	if cn := r.TLS.PeerCertificates[0].Subject.CommonName; cn != pki.FrontProxyName {
		http.Error(w, cn, http.StatusUnauthorized)
		return
	}
	e.mu.Lock()
	e.asks = append(e.asks, fmt.Sprintf("%s %s %v %s", r.Method, name, groups, r.URL.Path))
	e.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "/console") {
		talk(w)
		return
	}
	proxy := httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { p.SetURL(&url.URL{Scheme: "https", Host: "headway.internal"}) },
		Transport:     e.behind.API.InProcess(name, append(groups, "system:authenticated")...).Transport,
		FlushInterval: -1,
	}
	proxy.ServeHTTP(w, r)
}

// talk makes a stream of the connection, and says in capitals what it hears.
func talk(w http.ResponseWriter) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: talk\r\n\r\n")
	_ = rw.Flush()
	for {
		line, err := rw.ReadString('\n')
		if err != nil {
			return
		}
		_, _ = rw.WriteString(strings.ToUpper(line))
		_ = rw.Flush()
	}
}

// asked reports whether the server was asked what begins so.
func (e *extension) asked(what string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.asks, func(a string) bool { return strings.HasPrefix(a, what) })
}

func put(t *testing.T, s *apitest.Server, objs ...object.Object) {
	t.Helper()
	var changes []change.Change
	for _, obj := range objs {
		changes = append(changes, change.Create(obj, time.Now()))
	}
	if _, err := s.Store.Commit(t.Context(), change.Tx{Changes: changes}); err != nil {
		t.Fatal(err)
	}
}

// serviceFor is a Service, and sliceFor its endpoint on this machine, which no request
// may create.
func serviceFor(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{
		Ports: []corev1.ServicePort{{Name: "https", Port: 443, TargetPort: intstr.FromInt32(8443)}},
	}}
}

func sliceFor(t *testing.T, name string, server *httptest.Server) *discoveryv1.EndpointSlice {
	t.Helper()
	port := server.Listener.Addr().(*net.TCPAddr).Port
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}}, AddressType: "IPv4",
		Ports:     []discoveryv1.EndpointPort{{Name: new("https"), Port: new(int32(port))}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}}},
	}
}

func apiServiceFor(s *apitest.Server, service, group string) *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1." + group}, Spec: apiregistrationv1.APIServiceSpec{
		Group: group, Version: "v1", GroupPriorityMinimum: 100, VersionPriority: 10, CABundle: s.PKI.CACert,
		Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: service},
	}}
}

// available waits until an APIService has the condition for a reason, and returns its
// message.
func available(t *testing.T, s *apitest.Server, name, reason string) (message string) {
	t.Helper()
	eventually(t, name+" is "+reason, func() bool {
		a, ok := s.Store.Get(object.Key{GroupKind: schema.GroupKind{Group: "apiregistration.k8s.io", Kind: "APIService"}, Name: name}).(*apiregistrationv1.APIService)
		if !ok || len(a.Status.Conditions) != 1 || a.Status.Conditions[0].Reason != reason {
			return false
		}
		message = a.Status.Conditions[0].Message
		return true
	})
	return message
}

// raw asks the server as the administrator.
func raw(t *testing.T, s *apitest.Server, path string, header ...string) (code int, body string) {
	t.Helper()
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// measured waits until the metrics have lines that begin so.
func measured(t *testing.T, s *apitest.Server, lines ...string) {
	t.Helper()
	for _, line := range lines {
		eventually(t, "the metrics have "+line, func() bool {
			_, all := raw(t, s, "/metrics")
			return strings.Contains(all, "\n"+line)
		})
	}
}

// discovered returns a group version of the aggregated discovery.
func discovered(t *testing.T, s *apitest.Server, gv schema.GroupVersion) (v apidiscoveryv2.APIVersionDiscovery, ok bool) {
	t.Helper()
	_, body := raw(t, s, "/apis", "Accept", discovery.AcceptV2)
	var list apidiscoveryv2.APIGroupDiscoveryList
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatal(err)
	}
	for _, g := range list.Items {
		for _, v := range g.Versions {
			if g.Name == gv.Group && v.Version == gv.Version {
				return v, true
			}
		}
	}
	return v, false
}

// An extension API server behind a Service is used by kubectl and client-go like
// everything else, as soon as it answers and until it is gone.
func TestAggregatedAPI(t *testing.T) {
	s := apitest.Start(t)
	e := newExtension(t, s)
	flunder := schema.GroupVersionResource{Group: "wardle.example.com", Version: "v1", Resource: "flunders"}
	const name = "v1.wardle.example.com"

	put(t, s, apiServiceFor(s, "wardle", flunder.Group))
	if m := available(t, s, name, "ServiceNotFound"); m != `service/wardle in "default" is not present` {
		t.Error(m)
	}
	expect(t, s, "", args("get apiservice "+name), "NAME", "SERVICE", "AVAILABLE", "AGE", "default/wardle", "False (ServiceNotFound)")
	put(t, s, serviceFor("wardle"))
	available(t, s, name, "EndpointsNotFound")
	if code, body := raw(t, s, "/apis/wardle.example.com/v1"); code != http.StatusServiceUnavailable || body != "service unavailable\n" {
		t.Errorf("%d: %s", code, body)
	}
	put(t, s, sliceFor(t, "wardle", e.Server))
	if m := available(t, s, name, "Passed"); m != "all checks passed" {
		t.Error(m)
	}
	eventually(t, "the resources are listed, and described", func() bool {
		v, ok := discovered(t, s, flunder.GroupVersion())
		_, index := raw(t, s, "/openapi/v3")
		return ok && v.Freshness == "Current" && len(v.Resources) == 1 && strings.Contains(index, "apis/wardle.example.com/v1")
	})

	t.Run("kubectl", func(t *testing.T) {
		expect(t, s, "", args("api-resources --api-group=wardle.example.com"), "flunders", "fl", "wardle.example.com/v1", "Flunder")
		kubectl(t, s, "---\n{apiVersion: wardle.example.com/v1, kind: Flunder, metadata: {name: a}, spec: {size: 3}}", "apply", "-f", "-")
		expect(t, s, "", args("get fl"), "SIZE", "a      3")
		expect(t, s, "", args("explain flunder.spec.size"), "how large it is")
		kubectl(t, s, "", args("wait --for=jsonpath={.spec.size}=3 flunder/a --timeout=60s")...)
		expect(t, s, "", args("get apiservice "+name), "default/wardle   True ")
	})

	t.Run("watch", func(t *testing.T) {
		client := dynamic.NewForConfigOrDie(s.Config).Resource(flunder).Namespace("default")
		w, err := client.Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		obj := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "wardle.example.com/v1", "kind": "Flunder", "metadata": map[string]any{"name": "watched"}}}
		if _, err := client.Create(t.Context(), obj, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for event := range w.ResultChan() {
			if event.Object.(metav1.Object).GetName() == "watched" {
				return
			}
		}
		t.Error("the watch ended without the object")
	})

	t.Run("who asks", func(t *testing.T) {
		path := "/apis/wardle.example.com/v1/namespaces/default/flunders"
		raw(t, s, path, "X-Remote-User", "root", "X-Remote-Group", "wheel", "X-Remote-Extra-Scopes", "all")
		if !e.asked("GET kubernetes-admin [system:masters system:authenticated] " + path) {
			t.Error("the server was not told who asks")
		}
		if e.asked("GET root") {
			t.Error("the server was told what the client says of itself")
		}
		refuse(t, s, "", args("get flunders --as=ada"), `User "ada" cannot list resource "flunders" in API group "wardle.example.com"`)
		if e.asked("GET ada") {
			t.Error("a request was handed on that is not allowed")
		}
		if code := status(t, s, path); code != http.StatusForbidden {
			t.Errorf("without credentials: %d", code)
		}
	})

	t.Run("upgrade", func(t *testing.T) {
		config, err := rest.TLSConfigFor(s.Config)
		if err != nil {
			t.Fatal(err)
		}
		config.NextProtos = []string{"http/1.1"}
		conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.URL, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(conn, "GET /apis/wardle.example.com/v1/namespaces/default/flunders/a/console HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: talk\r\n\r\n")
		from := bufio.NewReader(conn)
		response, err := http.ReadResponse(from, nil)
		if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v, %v", response, err)
		}
		defer response.Body.Close()
		_, _ = io.WriteString(conn, "hello\n")
		expectLine(t, "the other end of the stream", from, "HELLO")
	})

	t.Run("the groups", func(t *testing.T) {
		var groups metav1.APIGroupList
		_, body := raw(t, s, "/apis", "Accept", "application/json")
		if err := json.Unmarshal([]byte(body), &groups); err != nil || len(groups.Groups) < 5 {
			t.Fatalf("%v: %s", err, body)
		}
		var names []string
		for _, g := range groups.Groups {
			names = append(names, g.Name)
		}
		if names[0] != "apiregistration.k8s.io" || names[1] != "apps" || !slices.Contains(names, "wardle.example.com") || slices.Contains(names, "") {
			t.Errorf("groups: %q", names)
		}
		var group metav1.APIGroup
		if _, body = raw(t, s, "/apis/wardle.example.com"); json.Unmarshal([]byte(body), &group) != nil || group.Kind != "APIGroup" || group.PreferredVersion.GroupVersion != "wardle.example.com/v1" {
			t.Errorf("the group: %s", body)
		}
		if _, body = raw(t, s, "/openapi/v2"); !strings.Contains(body, `"/apis/wardle.example.com/v1/namespaces/{namespace}/flunders/{name}"`) || !strings.Contains(body, `"/api/v1/pods"`) {
			t.Error("OpenAPI 2 lacks the flunders, or the pods")
		}
	})

	t.Run("metrics", func(t *testing.T) {
		measured(t, s, `aggregator_unavailable_apiservice{name="v1.wardle.example.com"} 0`, `aggregator_unavailable_apiservice{name="v1.apps"} 0`)
	})

	t.Run("unavailable", func(t *testing.T) {
		if _, err := s.Store.Commit(t.Context(), change.Tx{Changes: []change.Change{change.Patch(object.Key{GroupKind: schema.GroupKind{Group: "apiregistration.k8s.io", Kind: "APIService"}, Name: name}, func(obj object.Object) bool {
			obj.(*apiregistrationv1.APIService).Spec.CABundle = s.FrontProxy.CACert
			return true
		})}}); err != nil {
			t.Fatal(err)
		}
		if m := available(t, s, name, "FailedDiscoveryCheck"); !strings.Contains(m, "failing or missing response from https://127.0.0.1:") || !strings.Contains(m, "x509: certificate signed by unknown authority") {
			t.Error(m)
		}
		measured(t, s, `aggregator_unavailable_apiservice{name="v1.wardle.example.com"} 1`,
			`aggregator_unavailable_apiservice_total{name="v1.wardle.example.com",reason="FailedDiscoveryCheck"} `)
		kubectl(t, s, "", args("delete endpointslice wardle")...)
		available(t, s, name, "EndpointsNotFound")
		refuse(t, s, "", args("get flunders.v1.wardle.example.com"), "the server is currently unable to handle the request")
		expect(t, s, "", args("get namespaces"), "default")
		eventually(t, "the group version is stale", func() bool {
			v, ok := discovered(t, s, flunder.GroupVersion())
			return ok && v.Freshness == "Stale"
		})
		kubectl(t, s, "", args("delete apiservice "+name)...)
		eventually(t, "the group version is gone", func() bool {
			_, ok := discovered(t, s, flunder.GroupVersion())
			return !ok
		})
		eventually(t, "nothing is measured of what is gone", func() bool {
			_, all := raw(t, s, "/metrics")
			return !strings.Contains(all, `aggregator_unavailable_apiservice{name="v1.wardle.example.com"}`)
		})
		if code, _ := raw(t, s, "/apis/wardle.example.com/v1"); code != http.StatusNotFound {
			t.Errorf("what is not handed on is answered with %d", code)
		}
	})
}

// What the server serves itself has APIServices, which nobody takes over.
func TestLocalAPIServices(t *testing.T) {
	s := apitest.Start(t)
	expect(t, s, "", args("get apiservices -L kube-aggregator.kubernetes.io/automanaged"), "v1. ", "v1.apps ", "v1.authorization.k8s.io ", "Local     True        ", "onstart")
	if list := kubectl(t, s, "", args("get apiservices")...); strings.Contains(list, "apiregistration") || strings.Contains(list, "False") {
		t.Error(list)
	}
	taken := `---
{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.apps}, spec: {group: apps, version: v1, groupPriorityMinimum: 20000, versionPriority: 1000, service: {namespace: default, name: mine}}}`
	refuse(t, s, taken, args("apply -f -"), "spec.service: Forbidden: Headway serves apps itself")
	refuse(t, s, strings.NewReplacer("v1.apps", "v9.apps", "version: v1", "version: v9").Replace(taken), args("create -f -"), "spec.service: Forbidden: Headway serves apps itself")
	kubectl(t, s, "", args("delete apiservice v1.apps")...)
	available(t, s, "v1.apps", "Local")
	kubectl(t, s, "", "patch", "apiservice", "v1.apps", "--type=merge", "-p", `{"spec": {"groupPriorityMinimum": 1}}`)
	apps := object.Key{GroupKind: schema.GroupKind{Group: "apiregistration.k8s.io", Kind: "APIService"}, Name: "v1.apps"}
	eventually(t, "the priority is as before", func() bool {
		a, ok := s.Store.Get(apps).(*apiregistrationv1.APIService)
		return ok && a.Spec.GroupPriorityMinimum == 17800
	})

	kubectl(t, s, flunders, args("create -f -")...)
	available(t, s, "v1.wardle.example.com", "Local")
	expect(t, s, "", args("get apiservices -l kube-aggregator.kubernetes.io/automanaged=true"), "v1.wardle.example.com   Local     True")
	kubectl(t, s, "", args("delete crd flunders.wardle.example.com")...)
	eventually(t, "the group of custom resources is gone", func() bool {
		return s.Store.Get(object.Key{GroupKind: apps.GroupKind, Name: "v1.wardle.example.com"}) == nil
	})
}
