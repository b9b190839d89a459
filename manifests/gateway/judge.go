package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"regexp/syntax"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// judge finds the references of a route, and what of it cannot be served: the whole route
// is not, then.
func (d *Decision) judge(r *Route) {
	tell := func(where, what string) {
		if !r.fault.is() {
			r.fault = faultf(gatewayv1.RouteReasonUnsupportedValue, "%s: %s", where, what)
		}
	}
	if r.HTTP != nil {
		r.common, r.hosts, r.existing = &r.HTTP.Spec.CommonRouteSpec, r.HTTP.Spec.Hostnames, r.HTTP.Status.Parents
		for i := range r.HTTP.Spec.Rules {
			r.judgeHTTP(&r.HTTP.Spec.Rules[i], fmt.Sprintf("spec.rules[%d]", i), tell)
		}
		return
	}
	r.common, r.hosts, r.existing = &r.GRPC.Spec.CommonRouteSpec, r.GRPC.Spec.Hostnames, r.GRPC.Status.Parents
	for i := range r.GRPC.Spec.Rules {
		r.judgeGRPC(&r.GRPC.Spec.Rules[i], fmt.Sprintf("spec.rules[%d]", i), tell)
	}
}

func (r *Route) judgeHTTP(rule *gatewayv1.HTTPRouteRule, at string, tell func(where, what string)) {
	if rule.Retry != nil {
		tell(at+".retry", "retries are not served")
	}
	if rule.SessionPersistence != nil {
		tell(at+".sessionPersistence", "there are no sessions")
	}
	for i, m := range rule.Matches {
		in := fmt.Sprintf("%s.matches[%d]", at, i)
		if m.Path != nil && deref(m.Path.Type, "") == gatewayv1.PathMatchRegularExpression {
			expression(in+".path", deref(m.Path.Value, ""), tell)
		}
		for _, h := range m.Headers {
			if deref(h.Type, "") == gatewayv1.HeaderMatchRegularExpression {
				expression(in+".headers", h.Value, tell)
			}
		}
		for _, q := range m.QueryParams {
			if deref(q.Type, "") == gatewayv1.QueryParamMatchRegularExpression {
				expression(in+".queryParams", q.Value, tell)
			}
		}
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

func (r *Route) judgeFilters(filters []gatewayv1.HTTPRouteFilter, at string, tell func(where, what string)) {
	for i := range filters {
		switch f := &filters[i]; f.Type {
		case gatewayv1.HTTPRouteFilterRequestRedirect, gatewayv1.HTTPRouteFilterURLRewrite:
		case gatewayv1.HTTPRouteFilterRequestHeaderModifier:
			judgeHeaders(f.RequestHeaderModifier, fmt.Sprintf("%s.filters[%d]", at, i), tell)
		case gatewayv1.HTTPRouteFilterResponseHeaderModifier:
			judgeHeaders(f.ResponseHeaderModifier, fmt.Sprintf("%s.filters[%d]", at, i), tell)
		case gatewayv1.HTTPRouteFilterRequestMirror:
			if f.RequestMirror != nil {
				r.refs = append(r.refs, f.RequestMirror.BackendRef)
			}
		default:
			tell(fmt.Sprintf("%s.filters[%d]", at, i), fmt.Sprintf("filters of the type %s are not served", f.Type))
		}
	}
}

// framing are the headers that HTTP itself goes by.
var framing = map[string]bool{
	"Connection": true, "Content-Length": true, "Host": true, "Keep-Alive": true, "Proxy-Connection": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// judgeHeaders tells of changes of headers by which a request could become another one, or
// several.
func judgeHeaders(f *gatewayv1.HTTPHeaderFilter, at string, tell func(where, what string)) {
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

func (r *Route) judgeGRPC(rule *gatewayv1.GRPCRouteRule, at string, tell func(where, what string)) {
	if rule.SessionPersistence != nil {
		tell(at+".sessionPersistence", "there are no sessions")
	}
	for i, m := range rule.Matches {
		in := fmt.Sprintf("%s.matches[%d]", at, i)
		if m.Method != nil && deref(m.Method.Type, "") == gatewayv1.GRPCMethodMatchRegularExpression {
			expression(in+".method.service", deref(m.Method.Service, ""), tell)
			expression(in+".method.method", deref(m.Method.Method, ""), tell)
		}
		for _, h := range m.Headers {
			if deref(h.Type, "") == gatewayv1.GRPCHeaderMatchRegularExpression {
				expression(in+".headers", h.Value, tell)
			}
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

// mostExpression is how long an expression may be: what one is compiled to is a multiple.
const mostExpression = 1024

// expression tells of a regular expression that is none of RE2, whose matching takes time
// in proportion to the text.
func expression(where, text string, tell func(where, what string)) {
	if len(text) > mostExpression {
		tell(where, fmt.Sprintf("a regular expression has %d characters at most", mostExpression))
		return
	}
	if _, err := Expression(text); err != nil {
		tell(where, err.Error())
	}
}

// mostInstructions bounds what an expression is compiled to: a repetition of repetitions
// takes tens of megabytes for some characters, and matching takes time in proportion to it.
const mostInstructions = 2000

// instructions is about how many instructions an expression is compiled to.
func instructions(re *syntax.Regexp) int64 {
	n := int64(1)
	if re.Op == syntax.OpLiteral { // of a class the runes are shared
		n = int64(max(1, len(re.Rune)))
	}
	for _, s := range re.Sub {
		n += instructions(s)
	}
	if re.Op == syntax.OpRepeat {
		n *= int64(max(re.Max, re.Min, 1))
	}
	return n
}

// Expression compiles a regular expression, which has to match the whole of a text.
func Expression(text string) (*regexp.Regexp, error) {
	parsed, err := syntax.Parse(text, syntax.Perl) // alone: what is put around it is no part of it
	if err == nil && instructions(parsed) > mostInstructions {
		return nil, errors.New("the regular expression repeats too much")
	}
	var re *regexp.Regexp
	if err == nil {
		re, err = regexp.Compile("^(?:" + text + ")$")
	}
	if err != nil {
		return nil, fmt.Errorf("the regular expression is none of RE2: %w", err)
	}
	return re, nil
}
