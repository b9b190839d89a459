package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"headway.dev/manifests/gateway"
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

// given has the class headway, and a Service with the port 80 of every name.
func given(t *testing.T) *gateway.Input {
	t.Helper()
	return &gateway.Input{
		Classes: []*gatewayv1.GatewayClass{read[gatewayv1.GatewayClass](t, "{metadata: {name: headway}, spec: {controllerName: headway.dev/gateway}}")},
		Service: func(types.NamespacedName) *corev1.Service {
			return &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
		},
	}
}

// addGateway adds one, which is younger than those before.
func addGateway(t *testing.T, in *gateway.Input, namespace, name, spec string) {
	t.Helper()
	g := read[gatewayv1.Gateway](t, fmt.Sprintf("{metadata: {name: %s, namespace: %s}, spec: {gatewayClassName: headway, %s}}", name, namespace, spec))
	g.CreationTimestamp = metav1.Unix(int64(len(in.Gateways)), 0)
	in.Gateways = append(in.Gateways, g)
}

// addHTTP adds an HTTPRoute of the namespace d, which is younger than those before.
func addHTTP(t *testing.T, in *gateway.Input, name, spec string) {
	t.Helper()
	r := read[gatewayv1.HTTPRoute](t, fmt.Sprintf("{metadata: {name: %s, namespace: d}, spec: {%s}}", name, spec))
	r.CreationTimestamp = metav1.Unix(int64(len(in.HTTPRoutes)+len(in.GRPCRoutes)), 0)
	in.HTTPRoutes = append(in.HTTPRoutes, r)
}

func addGRPC(t *testing.T, in *gateway.Input, name, spec string) {
	t.Helper()
	r := read[gatewayv1.GRPCRoute](t, fmt.Sprintf("{metadata: {name: %s, namespace: d}, spec: {%s}}", name, spec))
	r.CreationTimestamp = metav1.Unix(int64(len(in.HTTPRoutes)+len(in.GRPCRoutes)), 0)
	in.GRPCRoutes = append(in.GRPCRoutes, r)
}

// conditions are of the form TYPE=STATUS/REASON, sorted.
func conditions(list []metav1.Condition) string {
	var out []string
	for _, c := range list {
		out = append(out, fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// condition is one of a type, or an empty one.
func condition(list []metav1.Condition, typ string) metav1.Condition {
	for _, c := range list {
		if c.Type == typ {
			return c
		}
	}
	return metav1.Condition{}
}

// Of the listeners of one Gateway that cannot be told from each other none is served, and of
// those of several the oldest Gateway's.
func TestConflicts(t *testing.T) {
	for what, tc := range map[string]struct {
		gateways []string // listeners
		want     []string // of each listener: its name if it is served, or why it is not
		accepted string   // of the last Gateway
	}{
		"distinct hosts": {[]string{`{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP, hostname: a.com}`}, []string{"a", "b"}, "True/Accepted"},
		"the same host": {
			[]string{`{name: a, port: 80, protocol: HTTP, hostname: A.com}, {name: b, port: 80, protocol: HTTP, hostname: a.com}, {name: c, port: 80, protocol: HTTP}`},
			[]string{"HostnameConflict", "HostnameConflict", "c"},
			"True/ListenersNotValid",
		},
		"nothing is left": {[]string{`{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}`}, []string{"HostnameConflict", "HostnameConflict"}, "False/ListenersNotValid"},
		"two protocols": {
			[]string{`{name: a, port: 8080, protocol: HTTP}, {name: b, port: 8080, protocol: HTTPS, hostname: a.com, tls: {certificateRefs: [{name: c}]}}, {name: c, port: 80, protocol: HTTP}`},
			[]string{"ProtocolConflict", "ProtocolConflict", "c"},
			"True/ListenersNotValid",
		},
		"a protocol that is not served": {[]string{`{name: a, port: 8080, protocol: HTTP}, {name: b, port: 8080, protocol: TCP}`}, []string{"a", "UnsupportedProtocol"}, "True/ListenersNotValid"},
		"two Gateways, one host":        {[]string{`{name: a, port: 80, protocol: HTTP}`, `{name: b, port: 80, protocol: HTTP}`}, []string{"a", "HostnameConflict"}, "False/ListenersNotValid"},
		"two Gateways, two protocols": {
			[]string{`{name: a, port: 8080, protocol: HTTP}`, `{name: b, port: 8080, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}}`},
			[]string{"a", "ProtocolConflict"},
			"False/ListenersNotValid",
		},
		"what is in conflict in its own Gateway takes nothing from others": {
			[]string{`{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}`, `{name: c, port: 80, protocol: HTTP}`},
			[]string{"HostnameConflict", "HostnameConflict", "c"},
			"True/Accepted",
		},
	} {
		in := given(t)
		for n, listeners := range tc.gateways {
			addGateway(t, in, "d", fmt.Sprint("g", n), "listeners: ["+listeners+"]")
		}
		var got []string
		accepted := ""
		for _, g := range gateway.Decide(*in).Gateways {
			status := gateway.StatusOf(g, []string{"192.0.2.1"})
			c := condition(status.Conditions, "Accepted")
			accepted = string(c.Status) + "/" + c.Reason
			for i, l := range g.Listeners {
				own := condition(status.Listeners[i].Conditions, "Accepted")
				conflict := condition(status.Listeners[i].Conditions, "Conflicted")
				if l.Served() != (own.Status == metav1.ConditionTrue) || (conflict.Status == metav1.ConditionTrue) != strings.HasSuffix(own.Reason, "Conflict") {
					t.Errorf("%s: the listener %s is served %t, with the conditions %s", what, l.Spec.Name, l.Served(), conditions(status.Listeners[i].Conditions))
				}
				if l.Served() {
					got = append(got, string(l.Spec.Name))
					continue
				}
				got = append(got, own.Reason)
			}
		}
		if !slices.Equal(got, tc.want) || accepted != tc.accepted {
			t.Errorf("%s: %q and %s, want %q and %s", what, got, accepted, tc.want, tc.accepted)
		}
	}
}

// Nobody is told what there is in other namespaces.
func TestConflictsTellNoNames(t *testing.T) {
	in := given(t)
	addGateway(t, in, "secret-project", "hidden", "listeners: [{name: covert, port: 80, protocol: HTTP}]")
	addGateway(t, in, "d", "web", "listeners: [{name: http, port: 80, protocol: HTTP}]")
	addGateway(t, in, "secret-project", "own", "listeners: [{name: http, port: 80, protocol: HTTP}]")
	d := gateway.Decide(*in)
	message := func(n int) string {
		return condition(gateway.StatusOf(d.Gateways[n], nil).Listeners[0].Conditions, "Conflicted").Message
	}
	for _, word := range []string{"secret-project", "hidden", "covert"} {
		if strings.Contains(message(1), word) {
			t.Errorf("another namespace is told %q", message(1))
		}
	}
	if !strings.Contains(message(2), "covert of the older Gateway hidden") {
		t.Errorf("its own namespace is told %q", message(2))
	}
}

// Of an HTTPRoute and a GRPCRoute whose hosts intersect at a listener, the older one is
// accepted there, and the other one is not, with none of its hosts.
func TestKindsShareNoHost(t *testing.T) {
	const spec = "parentRefs: [{name: web}], rules: [{backendRefs: [{name: b, port: 80}]}]"
	for _, tc := range []struct {
		older, younger string // hosts
		both           bool
	}{
		{"a.com", "a.com", false},
		{"a.com", "b.com", true},
		{"a.com", "A.com", false},
		{"*.a.com", "x.a.com", false},
		{"*.a.com", "x.y.a.com", false},
		{"x.y.a.com", "*.a.com", false},
		{"*.a.com", "*.y.a.com", false},
		{"*.y.a.com", "*.a.com", false},
		{"*.a.com", "a.com", true},
		{"a.com", "*.a.com", true},
		{"*.a.com", "*.ba.com", true},
		{"*.a.com", "xa.com", true},
		{"", "a.com", false},
		{"*.a.com", "", false},
		{"b.com, c.com", "a.com, c.com", false}, // and not a.com alone
	} {
		for _, kind := range []string{"HTTPRoute", "GRPCRoute"} {
			in := given(t)
			addGateway(t, in, "d", "web", "listeners: [{name: http, port: 80, protocol: HTTP}]")
			first, second := addHTTP, addGRPC
			if kind == "GRPCRoute" {
				first, second = addGRPC, addHTTP
			}
			first(t, in, "older", "hostnames: ["+quoted(tc.older)+"], "+spec)
			second(t, in, "younger", "hostnames: ["+quoted(tc.younger)+"], "+spec)
			d := gateway.Decide(*in)
			older, younger := condition(d.Routes[0].Parents[0].Conditions, "Accepted"), condition(d.Routes[1].Parents[0].Conditions, "Accepted")
			if older.Status != metav1.ConditionTrue || (younger.Status == metav1.ConditionTrue) != tc.both || len(d.Routes[1].Attached) > 0 != tc.both {
				t.Errorf("an older %s of %q and another kind's of %q: %s and %s/%s", kind, tc.older, tc.younger, older.Status, younger.Status, younger.Reason)
			}
		}
	}
}

// quoted are hosts as YAML has them.
func quoted(hosts string) string {
	if hosts == "" {
		return ""
	}
	return `"` + strings.ReplaceAll(hosts, ", ", `", "`) + `"`
}

// A route that is refused at a parent, as it would have too many hosts there, keeps none of
// them from others.
func TestRefusedRoutesClaimNothing(t *testing.T) {
	const spec = "rules: [{backendRefs: [{name: b, port: 80}]}]"
	in := given(t)
	var parents, hosts []string
	for n := range 17 {
		var listeners []string
		for l := range 64 {
			listeners = append(listeners, fmt.Sprintf("{name: l%d, port: %d, protocol: HTTP}", l, 8000+64*n+l))
		}
		name := fmt.Sprint("g", n)
		addGateway(t, in, "d", name, "listeners: ["+strings.Join(listeners, ", ")+"]")
		parents = append(parents, "{name: "+name+"}")
	}
	for n := range 16 {
		hosts = append(hosts, fmt.Sprintf("h%d.com", n))
	}
	addHTTP(t, in, "wide", "hostnames: ["+strings.Join(hosts, ", ")+"], parentRefs: ["+strings.Join(parents, ", ")+"], "+spec)
	addGRPC(t, in, "late", "hostnames: [h0.com], parentRefs: [{name: g16}], "+spec)
	d := gateway.Decide(*in)
	if got := conditions(d.Routes[0].Parents[16].Conditions); !strings.Contains(got, "Accepted=False/UnsupportedValue") {
		t.Errorf("the last parent of the wide route: %s", got)
	}
	if got := conditions(d.Routes[1].Parents[0].Conditions); !strings.Contains(got, "Accepted=True/Accepted") {
		t.Errorf("the other route: %s", got)
	}
}

// What of a rule is not served is refused by its name: the whole route if there is no other
// rule, and else that rule.
func TestRefusedValues(t *testing.T) {
	const good, backends = "{backendRefs: [{name: b, port: 80}]}", "backendRefs: [{name: b, port: 80}]"
	for _, tc := range []struct{ kind, rule, where string }{
		{"HTTPRoute", "matches: [{path: {type: Glob, value: /x}}], " + backends, ".matches[0].path.type: paths are not compared by Glob"},
		{"HTTPRoute", "matches: [{path: {type: RegularExpression, value: '/('}}], " + backends, ".matches[0].path: the regular expression is none of RE2"},
		{"HTTPRoute", "matches: [{}, {method: CONNECT}], " + backends, ".matches[1].method: requests of the method CONNECT are not served"},
		{"HTTPRoute", "matches: [{headers: [{name: a, value: b}, {name: a, type: Prefix, value: b}]}], " + backends, ".matches[0].headers[1].type: values are not compared by Prefix"},
		{"HTTPRoute", "matches: [{headers: [{name: HOST, value: b}]}], " + backends, ".matches[0].headers[0]: the header Host is not compared"},
		{"HTTPRoute", "matches: [{queryParams: [{name: a, type: Prefix, value: b}]}], " + backends, ".matches[0].queryParams[0].type: values are not compared by Prefix"},
		{"HTTPRoute", "filters: [{type: Compress}], " + backends, ".filters[0]: filters of the type Compress are not served"},
		{"HTTPRoute", "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceSuffix}}}], " + backends, ".filters[0]: paths are not replaced by ReplaceSuffix"},
		{"HTTPRoute", "filters: [{type: RequestRedirect, requestRedirect: {scheme: gopher}}]", ".filters[0]: nothing is redirected to the scheme gopher"},
		{"HTTPRoute", "filters: [{type: RequestRedirect, requestRedirect: {statusCode: 300}}]", ".filters[0]: nothing is redirected with the status 300"},
		{"HTTPRoute", "filters: [{type: RequestRedirect, requestRedirect: {}}, {type: RequestMirror, requestMirror: {backendRef: {name: m, port: 80}}}]", ".filters[1]: what is redirected is sent to no backend"},
		{"HTTPRoute", "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [host]}}], " + backends, ".filters[0]: the header Host cannot be modified"},
		{"HTTPRoute", "backendRefs: [{name: b, port: 80, filters: [{type: RequestRedirect, requestRedirect: {}}]}]", ".backendRefs[0].filters: a backend cannot redirect"},
		{"HTTPRoute", "retry: {attempts: 1}, " + backends, ".retry: retries are not served"},
		{"HTTPRoute", "sessionPersistence: {}, " + backends, ".sessionPersistence: there are no sessions"},
		{"GRPCRoute", "matches: [{method: {type: Prefix, service: a}}], " + backends, ".matches[0].method.type: methods are not compared by Prefix"},
		{"GRPCRoute", "matches: [{method: {type: RegularExpression, service: 'a{1000}', method: 'b{600}'}}], " + backends, ".matches[0].method: of the service and the method together, the regular expression repeats too much"},
		{"GRPCRoute", "matches: [{headers: [{name: a, type: Prefix, value: b}]}], " + backends, ".matches[0].headers[0].type: values are not compared by Prefix"},
		{"GRPCRoute", "filters: [{type: ExtensionRef}], " + backends, ".filters[0]: filters of the type ExtensionRef are not served"},
	} {
		add := addHTTP
		if tc.kind == "GRPCRoute" {
			add = addGRPC
		}
		decide := func(rules string) *gateway.Route {
			in := given(t)
			addGateway(t, in, "d", "web", "listeners: [{name: http, port: 80, protocol: HTTP}]")
			add(t, in, "r", "parentRefs: [{name: web}], rules: ["+rules+"]")
			return gateway.Decide(*in).Routes[0]
		}
		alone := decide("{" + tc.rule + "}")
		if got, message := conditions(alone.Parents[0].Conditions), condition(alone.Parents[0].Conditions, "Accepted").Message; got != "Accepted=False/UnsupportedValue ResolvedRefs=True/ResolvedRefs" || !strings.HasPrefix(message, "spec.rules[0]"+tc.where) || len(alone.Attached) > 0 {
			t.Errorf("%s alone: %s: %s", tc.rule, got, message)
		}
		beside := decide(good + ", {" + tc.rule + "}")
		if got, message := conditions(beside.Parents[0].Conditions), condition(beside.Parents[0].Conditions, "PartiallyInvalid").Message; got != "Accepted=True/Accepted PartiallyInvalid=True/UnsupportedValue ResolvedRefs=True/ResolvedRefs" ||
			!strings.HasPrefix(message, "Dropped Rule") || !strings.Contains(message, ": spec.rules[1]"+tc.where) || len(beside.Attached) != 1 {
			t.Errorf("%s beside another: %s: %s", tc.rule, got, message)
		}
	}
}

// Gateways get 80, 443 and a bounded number of ports that nobody else has.
func TestPortsOfListeners(t *testing.T) {
	reason := func(in *gateway.Input) string {
		g := gateway.Decide(*in).Gateways
		return condition(gateway.StatusOf(g[len(g)-1], nil).Listeners[0].Conditions, "Accepted").Reason
	}
	listener := func(port int) string { return fmt.Sprintf("listeners: [{name: a, port: %d, protocol: HTTP}]", port) }
	for port, want := range map[int]string{
		80: "Accepted", 1024: "Accepted", 8080: "Accepted", 29999: "Accepted", 32768: "Accepted", 65535: "Accepted",
		81: "PortUnavailable", 443: "PortUnavailable", 1023: "PortUnavailable", 30000: "PortUnavailable", 32767: "PortUnavailable",
	} {
		in := given(t)
		addGateway(t, in, "d", "g", listener(port))
		if got := reason(in); got != want {
			t.Errorf("port %d: %s, want %s", port, got, want)
		}
	}
	in := given(t)
	for i := range 65 {
		addGateway(t, in, "d", fmt.Sprintf("g%d", i), listener(8000+i))
		if got, want := reason(in), map[bool]string{true: "Accepted", false: "PortUnavailable"}[i < 64]; got != want {
			t.Errorf("port number %d: %s, want %s", i+1, got, want)
		}
	}
	addGateway(t, in, "d", "same", "listeners: [{name: a, port: 8000, protocol: HTTP, hostname: a.com}]")
	if got := reason(in); got != "Accepted" {
		t.Errorf("a port that is open already: %s", got)
	}
}

// A Gateway whose class is gone, or is not accepted any more, does not keep a status by which it
// is served; one of another controller keeps its own.
func TestAbandonedGateways(t *testing.T) {
	in := given(t)
	addGateway(t, in, "d", "web", "listeners: [{name: http, port: 80, protocol: HTTP}]")
	in.Gateways[0].Status = gateway.StatusOf(gateway.Decide(*in).Gateways[0], []string{"192.0.2.1"})
	other := in.Gateways[0].DeepCopy()
	other.Name, other.Spec.GatewayClassName = "other", "theirs"
	for i := range other.Status.Conditions {
		other.Status.Conditions[i].Message = "of another controller"
	}
	in.Gateways = append(in.Gateways, other)
	classes := in.Classes
	refused := classes[0].DeepCopy()
	refused.Spec.ParametersRef = &gatewayv1.ParametersReference{Group: "g", Kind: "K", Name: "n"}
	for what, list := range map[string][]*gatewayv1.GatewayClass{"gone": nil, "refused": {refused}} {
		in.Classes = list
		d := gateway.Decide(*in)
		if len(d.Gateways) > 0 || len(d.Abandoned) != 1 {
			t.Fatalf("%s: %d Gateways are served, and %d abandoned", what, len(d.Gateways), len(d.Abandoned))
		}
		status := gateway.StatusOf(d.Abandoned[0], []string{"192.0.2.1"})
		if got := conditions(status.Conditions); got != "Accepted=False/Invalid Programmed=False/Invalid" || len(status.Addresses) > 0 {
			t.Errorf("%s: %s at %v", what, got, status.Addresses)
		}
		if got := conditions(status.Listeners[0].Conditions); !strings.Contains(got, "Programmed=False/Invalid") {
			t.Errorf("%s: the listener has %s", what, got)
		}
	}
	in.Classes = classes
	if d := gateway.Decide(*in); len(d.Gateways) != 1 || len(d.Abandoned) > 0 {
		t.Error("it is not served again")
	}
}

// Routes of the namespaces that a listener's selector means are attached, those of others and
// of a namespace that is not known are not.
func TestAllowedNamespaces(t *testing.T) {
	in := given(t)
	addGateway(t, in, "d", "web", `listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: a}, matchExpressions: [{key: stage, operator: NotIn, values: [test]}]}}}}]`)
	in.Namespaces = map[string]map[string]string{"d": {}, "a": {"team": "a"}, "b": {"team": "b"}, "test": {"team": "a", "stage": "test"}}
	for _, ns := range []string{"a", "b", "d", "test", "unknown"} {
		addHTTP(t, in, "r", "parentRefs: [{name: web, namespace: d}], rules: [{backendRefs: [{name: b, port: 80}]}]")
		in.HTTPRoutes[len(in.HTTPRoutes)-1].Namespace = ns
	}
	for _, r := range gateway.Decide(*in).Routes {
		want := "NotAllowedByListeners"
		if r.GetNamespace() == "a" {
			want = "Accepted"
		}
		if c := condition(r.Parents[0].Conditions, "Accepted"); c.Reason != want || len(r.Attached) > 0 != (want == "Accepted") {
			t.Errorf("%s: %s, want %s", r.Name(), c.Reason, want)
		}
	}
}
