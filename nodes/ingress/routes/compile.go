package routes

import (
	"cmp"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"headway.dev/manifests/gateway"
)

// compiler makes rules of a route that gateway.Decide has found to be one that can be served.
type compiler struct {
	decision *gateway.Decision
	route    *gateway.Route
	backends map[Backend]bool
}

func compile(d *gateway.Decision, r *gateway.Route, backends map[Backend]bool) []routeRule {
	c := compiler{d, r, backends}
	var list []routeRule
	if r.HTTP != nil {
		for i := range r.HTTP.Spec.Rules {
			list = append(list, c.whole(i, c.http(&r.HTTP.Spec.Rules[i]))...)
		}
		return list
	}
	for i := range r.GRPC.Spec.Rules {
		list = append(list, c.whole(i, c.grpc(&r.GRPC.Spec.Rules[i]))...)
	}
	return list
}

// whole is a rule as it is, or one that answers with an error if not all of it can be served.
func (c *compiler) whole(i int, list []routeRule) []routeRule {
	why := c.route.Dropped[i]
	if why == "" {
		return list
	}
	split := &Split{Targets: []Target{{Weight: 1, Invalid: why}}, Total: 1}
	for n := range list {
		list[n].Action = &Action{From: nameOf(c.route), Kind: c.route.Kind.Kind, Split: split}
	}
	return list
}

func (c *compiler) http(rule *gatewayv1.HTTPRouteRule) []routeRule {
	base := Action{From: nameOf(c.route), Kind: c.route.Kind.Kind, Options: timeouts(rule.Timeouts)}
	base.Filters, base.Redirect = c.filters(rule.Filters)
	base.Split = &Split{}
	for i := range rule.BackendRefs {
		b := &rule.BackendRefs[i]
		c.target(base.Split, b.BackendRef, b.Filters)
	}
	matches := rule.Matches
	if len(matches) == 0 {
		matches = []gatewayv1.HTTPRouteMatch{{}}
	}
	list := make([]routeRule, 0, len(matches))
	for i := range matches {
		m := &matches[i]
		action := base
		r := routeRule{Rule: Rule{Type: Prefix, Path: "/", Action: &action}}
		conditions := &Conditions{}
		if p := m.Path; p != nil && p.Value != nil {
			switch value(p.Type, gatewayv1.PathMatchPathPrefix) {
			case gatewayv1.PathMatchExact:
				r.Type, r.Path = Exact, unescaped(*p.Value)
			case gatewayv1.PathMatchPathPrefix:
				r.Path = unescaped(*p.Value)
			case gatewayv1.PathMatchRegularExpression:
				r.Type, r.rank.path, conditions.Path = Regexp, len(*p.Value), expression(*p.Value)
			default:
				r.Type, conditions.Path = Regexp, none // nobody knows what it is for
			}
		}
		if r.Type == Prefix {
			action.Prefix = r.Path
		}
		if m.Method != nil {
			conditions.Method, r.rank.method = string(*m.Method), true
		}
		for _, h := range m.Headers {
			conditions.Headers = addValue(conditions.Headers, http.CanonicalHeaderKey(string(h.Name)), h.Value, value(h.Type, "") == gatewayv1.HeaderMatchRegularExpression)
		}
		for _, q := range m.QueryParams {
			conditions.Query = addValue(conditions.Query, string(q.Name), q.Value, value(q.Type, "") == gatewayv1.QueryParamMatchRegularExpression)
		}
		r.rank.headers, r.rank.query = len(conditions.Headers), len(conditions.Query)
		r.Conditions = orNil(conditions)
		list = append(list, r)
	}
	return list
}

// unescaped is a path as requests' are compared: without the escapes of URLs.
func unescaped(path string) string {
	if clean, err := url.PathUnescape(path); err == nil {
		return clean
	}
	return path // no request has it
}

func (c *compiler) grpc(rule *gatewayv1.GRPCRouteRule) []routeRule {
	base := Action{From: nameOf(c.route), Kind: c.route.Kind.Kind, Options: Options{Timeout: DefaultTimeout}, Split: &Split{}}
	base.Filters, _ = c.filters(gateway.FiltersOfGRPC(rule.Filters))
	for i := range rule.BackendRefs {
		b := &rule.BackendRefs[i]
		c.target(base.Split, b.BackendRef, gateway.FiltersOfGRPC(b.Filters))
	}
	matches := rule.Matches
	if len(matches) == 0 {
		matches = []gatewayv1.GRPCRouteMatch{{}}
	}
	list := make([]routeRule, 0, len(matches))
	for i := range matches {
		m := &matches[i]
		action := base
		r := routeRule{Rule: Rule{Type: Prefix, Path: "/", Action: &action}}
		conditions := &Conditions{}
		if m.Method != nil {
			service, method := value(m.Method.Service, ""), value(m.Method.Method, "")
			exact := value(m.Method.Type, gatewayv1.GRPCMethodMatchExact) == gatewayv1.GRPCMethodMatchExact
			switch {
			case exact && service != "" && method != "":
				r.Type, r.Path = Exact, "/"+service+"/"+method
			case exact && service != "":
				r.Path = "/" + service
			case exact && method != "":
				r.Type, r.rank.path, conditions.Path = Late, len(method), expression("/[^/]+/"+regexp.QuoteMeta(method))
			case !exact && service != "":
				r.Type, r.rank.path, conditions.Path = Regexp, len(service)+len(method), expression("/(?:"+service+")/(?:"+cmp.Or(method, "[^/]+")+")")
			case !exact && method != "":
				r.Type, r.rank.path, conditions.Path = Late, len(method), expression("/[^/]+/(?:"+method+")")
			}
		}
		for _, h := range m.Headers {
			conditions.Headers = addValue(conditions.Headers, http.CanonicalHeaderKey(string(h.Name)), h.Value, value(h.Type, "") == gatewayv1.GRPCHeaderMatchRegularExpression)
		}
		r.rank.headers = len(conditions.Headers)
		r.Conditions = orNil(conditions)
		list = append(list, r)
	}
	return list
}

// orNil is nil if there are no conditions.
func orNil(c *Conditions) *Conditions {
	if c.Path == nil && c.Method == "" && len(c.Headers) == 0 && len(c.Query) == 0 {
		return nil
	}
	return c
}

// addValue adds a value that something has to have. Of several of one name, the first counts.
func addValue(list []Value, name, text string, regular bool) []Value {
	for _, v := range list {
		if v.Name == name {
			return list
		}
	}
	v := Value{Name: name, Exact: text}
	if regular {
		v.Regexp = expression(text)
	}
	return append(list, v)
}

// none matches nothing, in place of an expression that is none.
var none = regexp.MustCompile(`[^\s\S]`)

func expression(text string) *regexp.Regexp {
	re, err := gateway.Expression(text)
	if err != nil {
		return none // it was refused before
	}
	return re
}

// target adds a backend with its weight.
func (c *compiler) target(s *Split, ref gatewayv1.BackendRef, filters []gatewayv1.HTTPRouteFilter) {
	t := Target{Weight: int64(value(ref.Weight, 1))}
	t.Backend, t.Invalid = c.backend(ref.BackendObjectReference)
	t.Filters, _ = c.filters(filters)
	s.Targets, s.Total = append(s.Targets, t), s.Total+t.Weight
}

func (c *compiler) backend(ref gatewayv1.BackendObjectReference) (b Backend, problem string) {
	service, port, _, problem := c.decision.Backend(c.route, ref)
	if problem != "" {
		return Backend{}, problem
	}
	b = Backend{Service: service, Port: networkingv1.ServiceBackendPort{Number: port}, HTTP2: c.route.GRPC != nil}
	c.backends[b] = true
	return b, ""
}

// timeouts are those of a rule. One that says nothing gets the one of Ingresses.
func timeouts(t *gatewayv1.HTTPRouteTimeouts) Options {
	if t == nil || t.Request == nil && t.BackendRequest == nil {
		return Options{Timeout: DefaultTimeout}
	}
	var o Options
	for _, d := range []*gatewayv1.Duration{t.Request, t.BackendRequest} {
		if d == nil {
			continue
		}
		if limit, err := time.ParseDuration(string(*d)); err == nil && limit > 0 && (o.Whole == 0 || limit < o.Whole) {
			o.Whole = limit
		}
	}
	return o
}

func (c *compiler) filters(list []gatewayv1.HTTPRouteFilter) (*Filters, *Redirect) {
	if len(list) == 0 {
		return nil, nil
	}
	f := &Filters{}
	var redirect *Redirect
	for i := range list {
		switch in := &list[i]; {
		case in.RequestHeaderModifier != nil:
			f.Request.include(in.RequestHeaderModifier)
		case in.ResponseHeaderModifier != nil:
			f.Response.include(in.ResponseHeaderModifier)
		case in.URLRewrite != nil:
			f.Host, f.Path = strings.ToLower(string(value(in.URLRewrite.Hostname, ""))), pathOf(in.URLRewrite.Path)
		case in.RequestRedirect != nil:
			r := in.RequestRedirect
			redirect = &Redirect{
				Scheme: value(r.Scheme, ""), Host: string(value(r.Hostname, "")), Port: value(r.Port, 0),
				Path: pathOf(r.Path), Code: value(r.StatusCode, http.StatusFound),
			}
		case in.RequestMirror != nil:
			m := Mirror{Numerator: 1, Denominator: 1}
			if p := in.RequestMirror.Percent; p != nil {
				m.Numerator, m.Denominator = int64(*p), 100
			}
			if p := in.RequestMirror.Fraction; p != nil {
				m.Numerator, m.Denominator = int64(p.Numerator), int64(value(p.Denominator, 100))
			}
			var problem string
			if m.Backend, problem = c.backend(in.RequestMirror.BackendRef); problem == "" {
				f.Mirrors = append(f.Mirrors, m)
			}
		}
	}
	return f, redirect
}

// include adds changes. Of several of one name, in whatever letters, the first counts.
func (h *Headers) include(f *gatewayv1.HTTPHeaderFilter) {
	h.Set, h.Add = withHeaders(h.Set, f.Set), withHeaders(h.Add, f.Add)
	h.Remove = append(h.Remove, f.Remove...)
}

func withHeaders(list [][2]string, more []gatewayv1.HTTPHeader) [][2]string {
	for _, m := range more {
		if !slices.ContainsFunc(list, func(have [2]string) bool { return strings.EqualFold(have[0], string(m.Name)) }) {
			list = append(list, [2]string{string(m.Name), m.Value})
		}
	}
	return list
}

func pathOf(m *gatewayv1.HTTPPathModifier) *Path {
	if m == nil {
		return nil
	}
	if m.Type == gatewayv1.FullPathHTTPPathModifier {
		return &Path{Full: true, Replacement: value(m.ReplaceFullPath, "/")}
	}
	return &Path{Replacement: value(m.ReplacePrefixMatch, "/")}
}

func value[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
