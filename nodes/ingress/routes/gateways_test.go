package routes_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"headway.dev/manifests/gateway"
	"headway.dev/nodes/ingress/routes"
)

// read reads an object.
func read[T any](t *testing.T, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func service(name types.NamespacedName) *corev1.Service {
	return &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
}

// input has the Gateway d/web with the listeners.
func input(t *testing.T, listeners string) gateway.Input {
	t.Helper()
	return gateway.Input{
		Classes:  []*gatewayv1.GatewayClass{read[gatewayv1.GatewayClass](t, "{metadata: {name: headway}, spec: {controllerName: headway.dev/gateway}}")},
		Gateways: []*gatewayv1.Gateway{read[gatewayv1.Gateway](t, "{metadata: {name: web, namespace: d}, spec: {gatewayClassName: headway, listeners: ["+listeners+"]}}")},
		Service:  service,
	}
}

// The table of the specification of ReplacePrefixMatch, and what clients escape.
func TestReplacePrefix(t *testing.T) {
	for _, tc := range [][4]string{
		{"/foo/bar", "/foo", "/xyz", "/xyz/bar"},
		{"/foo/bar", "/foo", "/xyz/", "/xyz/bar"},
		{"/foo/bar", "/foo/", "/xyz", "/xyz/bar"},
		{"/foo/bar", "/foo/", "/xyz/", "/xyz/bar"},
		{"/foo", "/foo", "/xyz", "/xyz"},
		{"/foo/", "/foo", "/xyz", "/xyz/"},
		{"/foo/bar", "/foo", "", "/bar"},
		{"/foo/", "/foo", "", "/"},
		{"/foo", "/foo", "", "/"},
		{"/foo/", "/foo", "/", "/"},
		{"/foo", "/foo", "/", "/"},
		{"/foo/a%2Fb", "/foo", "/x", "/x/a%2Fb"},
		{"/f%6Fo/a", "/foo", "/x", "/x/a"},
		{"/foo/../foo/a", "/foo", "/x", "/x/a"},
		{"/", "/", "/x", "/x/"},
	} {
		u, err := url.Parse(tc[0])
		if err != nil {
			t.Fatal(err)
		}
		(&routes.Path{Replacement: tc[2]}).Edit(u, tc[1])
		if got := u.EscapedPath(); got != tc[3] {
			t.Errorf("%s with %s replaced by %q: %s, want %s", tc[0], tc[1], tc[2], got, tc[3])
		}
	}
}

// Which listener, which route and which rule gets a request.
func TestPrecedence(t *testing.T) {
	in := input(t, `{name: all, port: 80, protocol: HTTP}, {name: own, port: 80, protocol: HTTP, hostname: "*.own.com"}`)
	route := func(name, spec string) {
		t.Helper()
		in.HTTPRoutes = append(in.HTTPRoutes, read[gatewayv1.HTTPRoute](t, "{metadata: {name: "+name+", namespace: d}, spec: {"+spec+"}}"))
	}
	to := func(name string) string { return "backendRefs: [{name: " + name + ", port: 80}]" }
	route("b-wild", `parentRefs: [{name: web, sectionName: all}], hostnames: ["*.com"], rules: [{`+to("wild")+`}]`)
	route("a-wild", `parentRefs: [{name: web, sectionName: all}], hostnames: ["*.a.com"], rules: [{`+to("deeper")+`}]`)
	route("exact", `parentRefs: [{name: web, sectionName: all}], hostnames: [x.a.com], rules: [{matches: [{path: {type: PathPrefix, value: /x}}], `+to("exact")+`}]`)
	route("own", `parentRefs: [{name: web, sectionName: own}], rules: [{matches: [{path: {type: PathPrefix, value: /o}}], `+to("own")+`}]`)
	route("rank", `parentRefs: [{name: web, sectionName: all}], hostnames: [r.org], rules: [
		{matches: [{queryParams: [{name: q, value: "1"}]}], `+to("query")+`}, {matches: [{headers: [{name: h, value: "1"}]}], `+to("header")+`},
		{matches: [{method: GET}], `+to("method")+`}, {matches: [{path: {type: PathPrefix, value: /p}}], `+to("prefix")+`}, {matches: [{path: {type: RegularExpression, value: "/p.*"}}], `+to("regexp")+`},
		{matches: [{path: {type: Exact, value: /p}}], `+to("path")+`}, {`+to("rest")+`}, {`+to("never")+`}]`)
	g := routes.FromGateways(gateway.Decide(in))
	for _, tc := range []struct{ method, host, path, header, want string }{
		{"GET", "x.a.com", "/x/y", "", "exact"},
		{"GET", "x.a.com", "/y", "", "deeper"},
		{"GET", "y.x.a.com:8080", "/x", "", "deeper"},
		{"GET", "b.com", "/", "", "wild"},
		{"GET", "com", "/", "", "none"},
		{"GET", "a.own.com", "/o", "", "own"},
		{"GET", "a.own.com", "/", "", "none"},
		{"GET", "b.org", "/", "", "none"},
		{"GET", "r.org", "/p", "", "path"},
		{"GET", "r.org", "/pq", "", "regexp"},
		{"GET", "r.org", "/x?q=1", "1", "method"},
		{"PUT", "r.org", "/x?q=1", "1", "header"},
		{"PUT", "r.org", "/x?q=1", "", "query"},
		{"PUT", "r.org", "/x?q=2", "", "rest"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), tc.method, "http://"+tc.host+tc.path, http.NoBody)
		if tc.header != "" {
			r.Header.Set("H", tc.header)
		}
		got := "none"
		if a, _ := g.Match(80, r); a != nil {
			got = a.Split.Targets[0].Backend.Service.Name
		}
		if got != tc.want {
			t.Errorf("%s %s%s: %s, want %s", tc.method, tc.host, tc.path, got, tc.want)
		}
	}
	if a, _ := g.Match(81, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://b.com/", http.NoBody)); a != nil {
		t.Error("another port has an action")
	}
}

// GRPCRoutes go by service and method, and their backends speak HTTP/2. A host is not shared
// with an HTTPRoute.
func TestGRPC(t *testing.T) {
	in := input(t, "{name: all, port: 80, protocol: HTTP}")
	to := func(name string) string { return "backendRefs: [{name: " + name + ", port: 80}]" }
	in.GRPCRoutes = append(in.GRPCRoutes, read[gatewayv1.GRPCRoute](t, `{metadata: {name: a, namespace: d}, spec: {parentRefs: [{name: web}], hostnames: [g.com], rules: [
		{`+to("all")+`}, {matches: [{method: {method: Get}}], `+to("method")+`}, {matches: [{method: {service: shop.Cart}}], `+to("service")+`},
		{matches: [{method: {service: shop.Cart, method: Get}}], `+to("both")+`}, {matches: [{method: {type: RegularExpression, service: "shop\\.[A-B].*"}}], `+to("regexp")+`},
		{matches: [{method: {service: shop.Cart, method: Put}, headers: [{name: v, value: "2"}]}], `+to("header")+`}]}}`))
	in.HTTPRoutes = append(in.HTTPRoutes, read[gatewayv1.HTTPRoute](t, `{metadata: {name: b, namespace: d}, spec: {parentRefs: [{name: web}], hostnames: [g.com], rules: [{`+to("http")+`}]}}`))
	d := gateway.Decide(in)
	g := routes.FromGateways(d)
	for path, want := range map[string]string{"/shop.Cart/Get": "both", "/shop.Cart/Put": "service", "/shop.Cart2/Get": "method", "/shop.Ant/Get": "regexp", "/x/y": "all"} {
		a, _ := g.Match(80, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://g.com"+path, http.NoBody))
		if a == nil || a.Split.Targets[0].Backend.Service.Name != want || !a.Split.Targets[0].Backend.HTTP2 {
			t.Errorf("%s: %+v, want %s", path, a, want)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://g.com/shop.Cart/Put", http.NoBody)
	r.Header.Set("V", "2")
	if a, _ := g.Match(80, r); a == nil || a.Split.Targets[0].Backend.Service.Name != "header" {
		t.Errorf("with a header: %+v", a)
	}
	for _, r := range d.Routes {
		want := gatewayv1.RouteReasonAccepted
		if r.HTTP != nil {
			want = gatewayv1.RouteReasonNotAllowedByListeners
		}
		if got := r.Parents[0].Conditions[0].Reason; got != string(want) {
			t.Errorf("%s: %s, want %s", r.Name(), got, want)
		}
	}
}

// wide has a Gateway with the most listeners, and a route with the most hosts and matches that
// the definitions let one have.
func wide(t *testing.T) gateway.Input {
	t.Helper()
	var listeners, hosts, matches []string
	for n := range 64 {
		listeners = append(listeners, fmt.Sprintf("{name: l%d, port: %d, protocol: HTTP}", n, 8000+n))
	}
	for n := range 16 {
		hosts = append(hosts, fmt.Sprintf("h%d.example.com", n))
	}
	for n := range 128 {
		matches = append(matches, fmt.Sprintf("{path: {type: PathPrefix, value: /p%d}}", n))
	}
	in := input(t, strings.Join(listeners, ", "))
	in.HTTPRoutes = append(in.HTTPRoutes, read[gatewayv1.HTTPRoute](t, `{metadata: {name: wide, namespace: d}, spec: {parentRefs: [{name: web}], hostnames: [`+strings.Join(hosts, ", ")+`],
		rules: [{matches: [`+strings.Join(matches, ", ")+`], backendRefs: [{name: wide, port: 80}]}]}}`))
	return in
}

// The rules of a route are kept once, however many hosts and listeners have them, and a route
// that would have more of those than can be kept is refused at the parent that is too much.
func TestWideRoutes(t *testing.T) {
	in := wide(t)
	d := gateway.Decide(in)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	g := routes.FromGateways(d)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > 2<<20 { // 131,072 rules take over 20 MiB
		t.Errorf("a route takes %d KiB", got>>10)
	}
	for _, port := range []int32{8000, 8063} {
		a, _ := g.Match(port, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://h15.example.com/p127/x", http.NoBody))
		if a == nil || a.Split.Targets[0].Backend.Service.Name != "wide" {
			t.Errorf("at the port %d: %+v", port, a)
		}
	}
	in.Gateways = append(in.Gateways, read[gatewayv1.Gateway](t, "{metadata: {name: x, namespace: d}, spec: {gatewayClassName: headway, listeners: [{name: l, port: 9000, protocol: HTTP}]}}"))
	in.HTTPRoutes[0].Spec.ParentRefs = append(in.HTTPRoutes[0].Spec.ParentRefs, gatewayv1.ParentReference{Name: "x"})
	r := gateway.Decide(in).Routes[0]
	if got := len(r.Attached); got != 64 {
		t.Errorf("it is attached to %d listeners", got)
	}
	if c := r.Parents[1].Conditions[0]; c.Status != metav1.ConditionFalse || c.Reason != string(gatewayv1.RouteReasonUnsupportedValue) {
		t.Errorf("the parent that is too much: %+v", c)
	}
	runtime.KeepAlive(g)
}

// Of the rules of several routes the most exact one gets a request, and of those as exact as
// each other the older route's.
func TestPrecedenceOfRoutes(t *testing.T) {
	in := input(t, "{name: all, port: 80, protocol: HTTP}")
	for n, rules := range []string{
		"{matches: [{path: {type: PathPrefix, value: /a}}], BACKEND}, {matches: [{path: {type: RegularExpression, value: /r.*}}], BACKEND}",
		"{matches: [{path: {type: PathPrefix, value: /a}, method: PUT}, {path: {type: PathPrefix, value: /a/b}}], BACKEND}",
		"{matches: [{path: {type: PathPrefix, value: /a}}, {path: {type: Exact, value: /a/b}}, {path: {type: RegularExpression, value: /re.*}}], BACKEND}",
		"{BACKEND}",
	} {
		name := string(rune('a' + n))
		in.HTTPRoutes = append(in.HTTPRoutes, read[gatewayv1.HTTPRoute](t, "{metadata: {name: "+name+", namespace: d}, spec: {parentRefs: [{name: web}], rules: ["+
			strings.ReplaceAll(rules, "BACKEND", "backendRefs: [{name: "+name+", port: 80}]")+"]}}"))
	}
	g := routes.FromGateways(gateway.Decide(in))
	for request, want := range map[string]string{"GET /a": "a", "PUT /a": "b", "GET /a/c": "a", "GET /a/b/c": "b", "GET /a/b": "c", "GET /r": "a", "GET /re": "c", "GET /": "d"} {
		method, path, _ := strings.Cut(request, " ")
		a, _ := g.Match(80, httptest.NewRequestWithContext(t.Context(), method, "http://x.org"+path, http.NoBody))
		if a == nil || a.From.Name != want {
			t.Errorf("%s: %+v, want %s", request, a, want)
		}
	}
}

// Of a route the rules are served that can be, and what the others are for is answered with an
// error: it does not go to a rule that is for more.
func TestDroppedRules(t *testing.T) {
	in := input(t, "{name: all, port: 80, protocol: HTTP}")
	in.HTTPRoutes = append(in.HTTPRoutes, read[gatewayv1.HTTPRoute](t, `{metadata: {name: a, namespace: d}, spec: {parentRefs: [{name: web}], rules: [
		{backendRefs: [{name: all, port: 80}]}, {matches: [{path: {type: PathPrefix, value: /x}}, {path: {type: Glob, value: "/*"}}], filters: [{type: Guard}], backendRefs: [{name: x, port: 80}]}]}}`))
	g := routes.FromGateways(gateway.Decide(in))
	for path, want := range map[string]string{"/": "", "/y": "", "/x/y": "spec.rules[1].matches[1].path.type: paths are not compared by Glob"} {
		a, _ := g.Match(80, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://a.com"+path, http.NoBody))
		if a == nil || len(a.Split.Targets) != 1 || a.Split.Total != 1 || a.Split.Targets[0].Invalid != want || a.Kind != "HTTPRoute" {
			t.Errorf("%s: %+v, want %q", path, a, want)
		}
	}
}

// A path of a route is compared without its escapes, as that of a request is.
func TestEscapesInPaths(t *testing.T) {
	in := input(t, "{name: all, port: 80, protocol: HTTP}")
	in.HTTPRoutes = append(in.HTTPRoutes, read[gatewayv1.HTTPRoute](t, `{metadata: {name: a, namespace: d}, spec: {parentRefs: [{name: web}], rules: [
		{matches: [{path: {type: PathPrefix, value: /a%20b}}, {path: {type: Exact, value: /100%25}}], backendRefs: [{name: all, port: 80}]}]}}`))
	g := routes.FromGateways(gateway.Decide(in))
	for path, want := range map[string]bool{"/a%20b/c": true, "/a%2520b": false, "/100%25": true, "/100": false} {
		a, _ := g.Match(80, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://a.com"+path, http.NoBody))
		if (a != nil) != want {
			t.Errorf("%s: %+v, want a rule: %t", path, a, want)
		}
	}
}

// Of changes of one header, in whatever letters, the first is made.
func TestEquivalentHeaders(t *testing.T) {
	in := input(t, "{name: all, port: 80, protocol: HTTP}")
	in.HTTPRoutes = append(in.HTTPRoutes, read[gatewayv1.HTTPRoute](t, `{metadata: {name: a, namespace: d}, spec: {parentRefs: [{name: web}], rules: [{backendRefs: [{name: b, port: 80}],
		filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: "1"}, {name: x-a, value: "2"}], add: [{name: x-b, value: "1"}, {name: X-B, value: "2"}, {name: X-A, value: "3"}]}}]}]}}`))
	a, _ := routes.FromGateways(gateway.Decide(in)).Match(80, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://a.com/", http.NoBody))
	header := http.Header{"X-A": {"0"}, "X-B": {"0"}}
	a.Filters.Request.Edit(header)
	if got := fmt.Sprint(header); got != "map[X-A:[1 3] X-B:[0 1]]" {
		t.Errorf("the header is %s", got)
	}
}
