package gateway

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// teller is told what of a rule cannot be served, and where in the route that is.
type teller func(where, what string)

// judge finds the references of a route, and which of its rules cannot be served.
func (d *Decision) judge(r *Route) {
	var count int
	var each func(i int, at string, tell teller)
	if r.HTTP != nil {
		spec := &r.HTTP.Spec
		r.common, r.hosts, r.existing, count = &spec.CommonRouteSpec, spec.Hostnames, r.HTTP.Status.Parents, len(spec.Rules)
		each = func(i int, at string, tell teller) { r.judgeHTTP(&spec.Rules[i], at, tell) }
	} else {
		spec := &r.GRPC.Spec
		r.common, r.hosts, r.existing, count = &spec.CommonRouteSpec, spec.Hostnames, r.GRPC.Status.Parents, len(spec.Rules)
		each = func(i int, at string, tell teller) { r.judgeGRPC(&spec.Rules[i], at, tell) }
	}
	first := ""
	for i := range count {
		each(i, fmt.Sprintf("spec.rules[%d]", i), func(where, what string) {
			if r.Dropped == nil {
				r.Dropped = map[int]string{}
			}
			if r.Dropped[i] == "" {
				r.Dropped[i] = where + ": " + what
				first = cmp.Or(first, r.Dropped[i])
			}
		})
	}
	if n := len(r.Dropped); n > 0 && n == count {
		r.fault = faultf(gatewayv1.RouteReasonUnsupportedValue, "%s", first)
	}
}

// dropped says which rules are not served, for people; empty: all are.
func (r *Route) dropped() string {
	var list []string
	for i, what := range r.Dropped {
		list = append(list, fmt.Sprintf("%03d%s", i, what)) // sorted by their numbers
	}
	slices.Sort(list)
	for i := range list {
		list[i] = list[i][3:]
	}
	return strings.Join(list, "; ")
}

func (r *Route) judgeHTTP(rule *gatewayv1.HTTPRouteRule, at string, tell teller) {
	if rule.Retry != nil {
		tell(at+".retry", "retries are not served")
	}
	if rule.SessionPersistence != nil {
		tell(at+".sessionPersistence", "there are no sessions")
	}
	for i := range rule.Matches {
		judgeMatch(&rule.Matches[i], fmt.Sprintf("%s.matches[%d]", at, i), tell)
	}
	r.judgeFilters(rule.Filters, at, tell)
	for i := range rule.BackendRefs {
		b := &rule.BackendRefs[i]
		r.refs = append(r.refs, b.BackendObjectReference)
		in := fmt.Sprintf("%s.backendRefs[%d]", at, i)
		r.judgeFilters(b.Filters, in, tell)
		for _, f := range b.Filters {
			if f.Type == gatewayv1.HTTPRouteFilterRequestRedirect {
				tell(in+".filters", "a backend cannot redirect")
			}
		}
	}
}

func judgeMatch(m *gatewayv1.HTTPRouteMatch, at string, tell teller) {
	if m.Path != nil {
		switch typ := deref(m.Path.Type, gatewayv1.PathMatchPathPrefix); typ {
		case gatewayv1.PathMatchExact, gatewayv1.PathMatchPathPrefix:
		case gatewayv1.PathMatchRegularExpression:
			expression(at+".path", deref(m.Path.Value, ""), tell)
		default:
			tell(at+".path.type", fmt.Sprintf("paths are not compared by %s", typ))
		}
	}
	if m.Method != nil && !methods[*m.Method] {
		tell(at+".method", fmt.Sprintf("requests of the method %s are not served", *m.Method))
	}
	for i, h := range m.Headers {
		judgeHeader(string(h.Name), string(deref(h.Type, gatewayv1.HeaderMatchExact)), h.Value, fmt.Sprintf("%s.headers[%d]", at, i), tell)
	}
	for i, q := range m.QueryParams {
		judgeValue(string(deref(q.Type, gatewayv1.QueryParamMatchExact)), q.Value, fmt.Sprintf("%s.queryParams[%d]", at, i), tell)
	}
}

// methods are those of the specification but CONNECT, which asks for a tunnel.
var methods = map[gatewayv1.HTTPMethod]bool{
	gatewayv1.HTTPMethodGet: true, gatewayv1.HTTPMethodHead: true, gatewayv1.HTTPMethodPost: true, gatewayv1.HTTPMethodPut: true,
	gatewayv1.HTTPMethodDelete: true, gatewayv1.HTTPMethodOptions: true, gatewayv1.HTTPMethodTrace: true, gatewayv1.HTTPMethodPatch: true,
}

func judgeHeader(name, typ, value, at string, tell teller) {
	if name = http.CanonicalHeaderKey(name); name == "Host" {
		tell(at, "the header Host is not compared: hosts are in spec.hostnames")
	}
	judgeValue(typ, value, at, tell)
}

// judgeValue judges how a value is compared; all kinds of them have the same types.
func judgeValue(typ, value, at string, tell teller) {
	switch typ {
	case string(gatewayv1.HeaderMatchExact):
	case string(gatewayv1.HeaderMatchRegularExpression):
		expression(at, value, tell)
	default:
		tell(at+".type", fmt.Sprintf("values are not compared by %s", typ))
	}
}

func (r *Route) judgeFilters(filters []gatewayv1.HTTPRouteFilter, at string, tell teller) {
	redirects := slices.ContainsFunc(filters, func(f gatewayv1.HTTPRouteFilter) bool { return f.Type == gatewayv1.HTTPRouteFilterRequestRedirect })
	for i := range filters {
		at := fmt.Sprintf("%s.filters[%d]", at, i)
		switch f := &filters[i]; {
		case f.Type == gatewayv1.HTTPRouteFilterRequestRedirect && f.RequestRedirect != nil:
			judgeRedirect(f.RequestRedirect, at, tell)
		case f.Type == gatewayv1.HTTPRouteFilterURLRewrite && f.URLRewrite != nil:
			judgePath(f.URLRewrite.Path, at, tell)
		case f.Type == gatewayv1.HTTPRouteFilterRequestHeaderModifier && f.RequestHeaderModifier != nil:
			judgeHeaders(f.RequestHeaderModifier, at, tell)
		case f.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier && f.ResponseHeaderModifier != nil:
			judgeHeaders(f.ResponseHeaderModifier, at, tell)
		case f.Type == gatewayv1.HTTPRouteFilterRequestMirror && f.RequestMirror != nil:
			r.refs = append(r.refs, f.RequestMirror.BackendRef)
			if redirects {
				tell(at, "what is redirected is sent to no backend, and is not mirrored")
			}
		default:
			tell(at, fmt.Sprintf("filters of the type %s are not served", f.Type))
		}
	}
}

func judgeRedirect(d *gatewayv1.HTTPRequestRedirectFilter, at string, tell teller) {
	judgePath(d.Path, at, tell)
	if s := deref(d.Scheme, "http"); s != "http" && s != "https" {
		tell(at, fmt.Sprintf("nothing is redirected to the scheme %s", s))
	}
	switch code := deref(d.StatusCode, http.StatusFound); code {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		tell(at, fmt.Sprintf("nothing is redirected with the status %d", code))
	}
}

func judgePath(m *gatewayv1.HTTPPathModifier, at string, tell teller) {
	if m != nil && m.Type != gatewayv1.FullPathHTTPPathModifier && m.Type != gatewayv1.PrefixMatchHTTPPathModifier {
		tell(at, fmt.Sprintf("paths are not replaced by %s", m.Type))
	}
}

// framing are the headers that HTTP itself goes by.
var framing = map[string]bool{
	"Connection": true, "Content-Length": true, "Host": true, "Keep-Alive": true, "Proxy-Connection": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// judgeHeaders tells of changes of headers by which a request could become another one, or
// several.
func judgeHeaders(f *gatewayv1.HTTPHeaderFilter, at string, tell teller) {
	if f == nil {
		return
	}
	name := func(n string) {
		if n = http.CanonicalHeaderKey(n); framing[n] {
			tell(at, fmt.Sprintf("the header %s cannot be modified: HTTP itself goes by it", n))
		}
	}
	for _, list := range [][]gatewayv1.HTTPHeader{f.Set, f.Add} {
		for _, h := range list {
			name(string(h.Name))
			if strings.ContainsFunc(h.Value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				tell(at, fmt.Sprintf("the value of the header %s has a control character", h.Name))
			}
		}
	}
	for _, n := range f.Remove {
		name(n)
	}
}

func (r *Route) judgeGRPC(rule *gatewayv1.GRPCRouteRule, at string, tell teller) {
	if rule.SessionPersistence != nil {
		tell(at+".sessionPersistence", "there are no sessions")
	}
	for i, m := range rule.Matches {
		in := fmt.Sprintf("%s.matches[%d]", at, i)
		if m.Method != nil {
			switch typ := deref(m.Method.Type, gatewayv1.GRPCMethodMatchExact); typ {
			case gatewayv1.GRPCMethodMatchExact:
			case gatewayv1.GRPCMethodMatchRegularExpression:
				expression(in+".method.service", deref(m.Method.Service, ""), tell)
				expression(in+".method.method", deref(m.Method.Method, ""), tell)
				if _, err := Expression("/(?:" + deref(m.Method.Service, "") + ")/(?:" + deref(m.Method.Method, "") + ")"); err != nil {
					tell(in+".method", "of the service and the method together, "+err.Error())
				}
			default:
				tell(in+".method.type", fmt.Sprintf("methods are not compared by %s", typ))
			}
		}
		for n, h := range m.Headers {
			judgeHeader(string(h.Name), string(deref(h.Type, gatewayv1.GRPCHeaderMatchExact)), h.Value, fmt.Sprintf("%s.headers[%d]", in, n), tell)
		}
	}
	r.judgeFilters(FiltersOfGRPC(rule.Filters), at, tell)
	for i := range rule.BackendRefs {
		b := &rule.BackendRefs[i]
		r.refs = append(r.refs, b.BackendObjectReference)
		r.judgeFilters(FiltersOfGRPC(b.Filters), fmt.Sprintf("%s.backendRefs[%d]", at, i), tell)
	}
}

// FiltersOfGRPC are filters of a GRPCRoute as those of an HTTPRoute that mean the same.
func FiltersOfGRPC(list []gatewayv1.GRPCRouteFilter) []gatewayv1.HTTPRouteFilter {
	out := make([]gatewayv1.HTTPRouteFilter, len(list))
	for i, f := range list {
		out[i] = gatewayv1.HTTPRouteFilter{
			Type: gatewayv1.HTTPRouteFilterType(f.Type), RequestHeaderModifier: f.RequestHeaderModifier,
			ResponseHeaderModifier: f.ResponseHeaderModifier, RequestMirror: f.RequestMirror, ExtensionRef: f.ExtensionRef,
		}
	}
	return out
}
