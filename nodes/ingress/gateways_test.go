package ingress_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"headway.dev/manifests/gateway"
	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/nodes/ingress"
)

var gatewayResources = map[string]string{
	"gatewayclasses": "GatewayClass", "gateways": "Gateway", "httproutes": "HTTPRoute", "grpcroutes": "GRPCRoute", "referencegrants": "ReferenceGrant",
}

// gatewayNode is a proxy under test that serves Gateways.
type gatewayNode struct {
	*node
	custom *dynamicfake.FakeDynamicClient
}

// parse reads objects of the Gateway API.
func parse(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var list []*unstructured.Unstructured
	for one := range strings.SplitSeq(text, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(one), &u.Object); err != nil {
			t.Fatal(err)
		}
		u.SetAPIVersion(gateway.GroupVersion.String())
		list = append(list, u)
	}
	return list
}

// startGateways starts a proxy before the API knows the kinds.
func startGateways(t *testing.T, text string, objects ...apiruntime.Object) *gatewayNode {
	t.Helper()
	lists := map[schema.GroupVersionResource]string{}
	for resource, kind := range gatewayResources {
		lists[gateway.GroupVersion.WithResource(resource)] = kind + "List"
	}
	n := &gatewayNode{&node{t: t, client: fake.NewClientset(objects...), http: free(t), https: free(t), warnings: make(chan string, 100)}, dynamicfake.NewSimpleDynamicClientWithCustomListKinds(apiruntime.NewScheme(), lists)}
	for _, u := range parse(t, text) {
		n.put(u)
	}
	list := &metav1.APIResourceList{GroupVersion: gateway.GroupVersion.String()}
	for resource := range gatewayResources {
		list.APIResources = append(list.APIResources, metav1.APIResource{Name: resource})
	}
	n.client.Resources = append(n.client.Resources, list)
	var known atomic.Bool
	n.client.PrependReactor("get", "resource", func(clienttesting.Action) (bool, apiruntime.Object, error) {
		if known.Load() {
			return false, nil, nil
		}
		return true, nil, apierrors.NewNotFound(schema.GroupResource{}, gateway.GroupVersion.String())
	})
	n.run(ingress.Config{
		HTTP: n.http, HTTPS: n.https, Pods: netip.MustParsePrefix("127.0.0.0/8"), Client: n.client, Custom: n.custom, Taken: map[int32]string{22: "SSH"},
		WarnGateway: func(g *gatewayv1.Gateway, reason, message string) {
			n.warnings <- g.Name + ": " + reason + ": " + message
		},
		Log: slog.New(slog.DiscardHandler),
	})
	known.Store(true)
	return n
}

// put creates an object, or replaces it.
func (n *gatewayNode) put(u *unstructured.Unstructured) {
	n.t.Helper()
	for resource, kind := range gatewayResources {
		if kind != u.GetKind() {
			continue
		}
		client := n.custom.Resource(gateway.GroupVersion.WithResource(resource)).Namespace(u.GetNamespace())
		if _, err := client.Update(n.t.Context(), u, metav1.UpdateOptions{}); err == nil {
			return
		}
		if _, err := client.Create(n.t.Context(), u, metav1.CreateOptions{}); err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *gatewayNode) apply(text string) {
	n.t.Helper()
	for _, u := range parse(n.t, text) {
		n.put(u)
	}
}

// named is a Service whose endpoint answers with its name, the method, the path, the host and
// the header X-In of a request, and tells seen of it.
func named(t *testing.T, namespace, name string, seen chan<- string) []apiruntime.Object {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if seen != nil {
			seen <- r.Method + " " + r.URL.RequestURI() + " " + string(body)
		}
		w.Header().Set("X-Out", "theirs")
		if r.URL.Path == "/slow" {
			select {
			case <-r.Context().Done():
			case <-time.After(time.Minute):
			}
		}
		_, _ = fmt.Fprintf(w, "%s %s %s %s %s", name, r.Method, r.URL.RequestURI(), r.Host, strings.Join(r.Header.Values("X-In"), ","))
	}))
	t.Cleanup(s.Close)
	at := netip.MustParseAddrPort(s.Listener.Addr().String())
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}}
	return []apiruntime.Object{
		&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}},
		&discoveryv1.EndpointSlice{ObjectMeta: meta, Ports: []discoveryv1.EndpointPort{{Name: new(""), Port: new(int32(at.Port()))}}, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{at.Addr().String()}}}},
	}
}

const gatewayClass = `
kind: GatewayClass
metadata: {name: headway}
spec: {controllerName: headway.dev/gateway}
`

// answer is what a request is answered with: the status, some headers, and the text.
func (n *gatewayNode) answer(method, url, host string, header map[string]string, body string) string {
	n.t.Helper()
	req, err := http.NewRequestWithContext(n.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	req.Host = host
	for k, v := range header {
		req.Header.Set(k, v)
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: host}}, //nolint:gosec // the names are looked at elsewhere
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 10 * time.Second,
	}
	resp, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	out := fmt.Sprint(resp.StatusCode)
	if to := resp.Header.Get("Location"); to != "" {
		return out + " " + to
	}
	if v := resp.Header.Values("X-Out"); len(v) > 0 {
		out += " [" + strings.Join(v, ",") + "]"
	}
	return out + " " + strings.TrimSpace(string(text))
}

// A route is served once the API knows the kinds, at the ports of its Gateway; what it says
// of requests and answers is done, over real connections.
func TestGatewayRoutes(t *testing.T) {
	extra := strings.TrimPrefix(free(t), "127.0.0.1:")
	seen := make(chan string, 100)
	objects := append(named(t, "shop", "a", nil), named(t, "shop", "b", nil)...)
	objects = append(objects, named(t, "shop", "copy", seen)...)
	objects = append(objects, named(t, "other", "far", nil)...)
	objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	n := startGateways(t, gatewayClass+`
---
kind: Gateway
metadata: {name: web, namespace: shop}
spec:
  gatewayClassName: headway
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: extra, port: `+extra+`, protocol: HTTP, hostname: "*.example.com"}
---
kind: HTTPRoute
metadata: {name: main, namespace: shop}
spec:
  parentRefs: [{name: web}]
  hostnames: [www.example.com]
  rules:
  - matches: [{path: {type: PathPrefix, value: /}}]
    backendRefs: [{name: a, port: 80}]
  - matches: [{path: {type: Exact, value: /exact}}, {path: {type: PathPrefix, value: /b}}]
    backendRefs: [{name: b, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /m}, method: POST}, {path: {type: PathPrefix, value: /m}, headers: [{name: x-v, value: "2"}]}, {path: {type: PathPrefix, value: /m}, queryParams: [{name: q, type: RegularExpression, value: "[0-9]+"}]}]
    backendRefs: [{name: b, port: 80}]
  - matches: [{path: {type: RegularExpression, value: "/r/[a-z]+"}}]
    backendRefs: [{name: b, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /rewrite}}]
    filters:
    - {type: URLRewrite, urlRewrite: {hostname: in.example.com, path: {type: ReplacePrefixMatch, replacePrefixMatch: /to}}}
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-In, value: one}], add: [{name: X-In, value: two}]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: X-Out, value: ours}]}}
    backendRefs: [{name: a, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: X-In, value: three}]}}]}]
  - matches: [{path: {type: PathPrefix, value: /redirect}}]
    filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: new.example.com, statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}]
  - matches: [{path: {type: PathPrefix, value: /mirror}}]
    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: copy, port: 80}}}]
    backendRefs: [{name: a, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /slow}}]
    timeouts: {request: 200ms}
    backendRefs: [{name: a, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /zero}}]
    backendRefs: [{name: a, port: 80, weight: 0}]
  - matches: [{path: {type: PathPrefix, value: /gone}}]
    backendRefs: [{name: nobody, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /far}}]
    backendRefs: [{name: far, namespace: other, port: 80}]
`, objects...)
	url := "http://" + n.http
	n.becomes(url+"/", "www.example.com", "200 a GET / www.example.com")
	for _, tc := range []struct {
		method, path, host string
		header             map[string]string
		want               string
	}{
		{"GET", "/exact", "www.example.com", nil, "200 [theirs] b GET /exact www.example.com"},
		{"GET", "/exact/", "www.example.com", nil, "200 [theirs] a GET /exact/ www.example.com"},
		{"GET", "/b/c", "www.example.com", nil, "200 [theirs] b GET /b/c www.example.com"},
		{"GET", "/bc", "www.example.com", nil, "200 [theirs] a GET /bc www.example.com"},
		{"GET", "/m", "www.example.com", nil, "200 [theirs] a GET /m www.example.com"},
		{"POST", "/m", "www.example.com", nil, "200 [theirs] b POST /m www.example.com"},
		{"GET", "/m", "www.example.com", map[string]string{"X-V": "2"}, "200 [theirs] b GET /m www.example.com"},
		{"GET", "/m", "www.example.com", map[string]string{"X-V": "22"}, "200 [theirs] a GET /m www.example.com"},
		{"GET", "/m?q=12", "www.example.com", nil, "200 [theirs] b GET /m?q=12 www.example.com"},
		{"GET", "/m?q=12a", "www.example.com", nil, "200 [theirs] a GET /m?q=12a www.example.com"},
		{"GET", "/r/abc", "www.example.com", nil, "200 [theirs] b GET /r/abc www.example.com"},
		{"GET", "/r/abc1", "www.example.com", nil, "200 [theirs] a GET /r/abc1 www.example.com"},
		{"GET", "/rewrite/x%2Fy?z=1", "www.example.com", nil, "200 [theirs,ours] a GET /to/x%2Fy?z=1 in.example.com one,two,three"},
		{"GET", "/redirect/y?z=1", "www.example.com", nil, "301 https://new.example.com/x/y?z=1"},
		{"GET", "/slow", "www.example.com", nil, "504 504 gateway timeout"},
		{"GET", "/zero", "www.example.com", nil, "500 500 internal server error"},
		{"GET", "/gone", "www.example.com", nil, "500 500 internal server error"},
		{"GET", "/far", "www.example.com", nil, "500 500 internal server error"},
		{"GET", "/", "other.example.com", nil, "404 404 page not found"},
		{"POST", "/mirror", "www.example.com", nil, "200 [theirs] a POST /mirror www.example.com"},
	} {
		if got := n.answer(tc.method, url+tc.path, tc.host, tc.header, "body"); got != tc.want {
			t.Errorf("%s %s: %s, want %s", tc.method, tc.path, got, tc.want)
		}
	}
	select {
	case got := <-seen:
		if got != "POST /mirror body" {
			t.Errorf("the mirror got %q", got)
		}
	case <-time.After(30 * time.Second):
		t.Error("nothing is mirrored")
	}
	// The other port, a grant, weights, and the end.
	n.becomes("http://127.0.0.1:"+extra+"/b", "www.example.com", "200 b GET /b www.example.com")
	n.apply(`
kind: ReferenceGrant
metadata: {name: far, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: "", kind: Service, name: far}]`)
	n.becomes(url+"/far", "www.example.com", "200 far GET /far www.example.com")
	n.apply(`
kind: HTTPRoute
metadata: {name: main, namespace: shop}
spec:
  parentRefs: [{name: web, sectionName: http}]
  rules: [{backendRefs: [{name: a, port: 80, weight: 3}, {name: b, port: 80, weight: 1}, {name: nobody, port: 80, weight: 0}]}]`)
	n.becomes(url+"/w", "any.org", "200 a GET /w any.org")
	n.becomes("http://127.0.0.1:"+extra+"/b", "www.example.com", "404 404 page not found")
	count := map[string]int{}
	for range 400 {
		count[n.answer("GET", url+"/w", "any.org", nil, "")]++
	}
	if b := count["200 [theirs] b GET /w any.org"]; len(count) != 2 || b < 50 || b > 150 { // 8 standard deviations and more
		t.Errorf("3:1 is %v", count)
	}
	if err := n.custom.Resource(gateway.GroupVersion.WithResource("gateways")).Namespace("shop").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.becomes(url+"/", "www.example.com", "closed")
	n.becomes("http://127.0.0.1:"+extra+"/", "www.example.com", "closed")
}

// HTTPS is served with the certificate of the listener that the client names, at any port; a
// port that somebody else has is told of.
func TestGatewayTLS(t *testing.T) {
	secure := strings.TrimPrefix(free(t), "127.0.0.1:")
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, busy, _ := net.SplitHostPort(taken.Addr().String())
	one, two := certificate(t, "one"), certificate(t, "two")
	one.Name, two.Name, two.Namespace = "one", "two", "certs"
	objects := append(named(t, "shop", "a", nil), one, two, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	n := startGateways(t, gatewayClass+`
---
kind: Gateway
metadata: {name: web, namespace: shop}
spec:
  gatewayClassName: headway
  listeners:
  - {name: one, port: `+secure+`, protocol: HTTPS, hostname: one.example.com, tls: {certificateRefs: [{name: one}]}}
  - {name: two, port: `+secure+`, protocol: HTTPS, hostname: "*.example.com", tls: {certificateRefs: [{name: two, namespace: certs}]}}
  - {name: web, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: two, namespace: certs}]}}
  - {name: busy, port: `+busy+`, protocol: HTTP}
---
kind: ReferenceGrant
metadata: {name: certs, namespace: certs}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}]
  to: [{group: "", kind: Secret}]
---
kind: HTTPRoute
metadata: {name: main, namespace: shop}
spec:
  parentRefs: [{name: web}]
  rules: [{backendRefs: [{name: a, port: 80}]}]
`, objects...)
	at := "https://127.0.0.1:" + secure
	n.becomes(at+"/", "one.example.com", "200 a GET / one.example.com one")
	n.becomes(at+"/", "x.y.example.com", "200 a GET / x.y.example.com two")
	n.becomes("https://"+n.https+"/", "any.org", "200 a GET / any.org two")
	if got, err := n.get(at+"/", "example.org"); err == nil {
		t.Errorf("a name that no listener has: %s", got)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "one.example.com"
	tr := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "two.example.com"}} //nolint:gosec // a client that coalesces connections
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a request by the connection of another listener: %d", resp.StatusCode)
	}
	select {
	case got := <-n.warnings:
		if !strings.HasPrefix(got, "web: GatewayNotServed: 127.0.0.1:"+busy) {
			t.Errorf("told %q", got)
		}
	case <-time.After(30 * time.Second):
		t.Error("nobody is told of the port that is taken")
	}
}

// A Gateway that is for all hosts leaves an Ingress its host, with its certificate.
func TestGatewayBesideIngress(t *testing.T) {
	own, all := certificate(t, "own"), certificate(t, "all")
	all.Name, all.Namespace = "all", "gate"
	objects := append(named(t, "shop", "a", nil), named(t, "gate", "g", nil)...)
	objects = append(objects, own, all, class("own", networking.HeadwayController), newIngress("web", "own", "shop.example.com", "a"),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "gate"}})
	n := startGateways(t, gatewayClass+`
---
kind: Gateway
metadata: {name: all, namespace: gate}
spec:
  gatewayClassName: headway
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: all}]}}
---
kind: HTTPRoute
metadata: {name: all, namespace: gate}
spec:
  parentRefs: [{name: all}]
  rules: [{backendRefs: [{name: g, port: 80}]}]
`, objects...)
	secure, plain := "https://"+n.https+"/", "http://"+n.http+"/"
	n.becomes(secure, "other.example.com", "200 g GET / other.example.com all")
	n.becomes(secure, "shop.example.com", "200 a GET / shop.example.com own")
	n.becomes(plain, "other.example.com", "200 g GET / other.example.com")
	n.becomes(plain, "shop.example.com", "200 a GET / shop.example.com")
	// A route for that very host comes before the Ingress.
	n.apply(`
kind: HTTPRoute
metadata: {name: all, namespace: gate}
spec:
  parentRefs: [{name: all}]
  hostnames: [shop.example.com]
  rules: [{backendRefs: [{name: g, port: 80}]}]`)
	n.becomes(plain, "shop.example.com", "200 g GET / shop.example.com")
}
