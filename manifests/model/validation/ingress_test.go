package validation_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"headway.dev/manifests/model/kinds/networking"
)

const wildcard = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"

func ingressCases(t *testing.T) {
	t.Helper()
	type ing = *networkingv1.Ingress
	base := `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web, namespace: shop}, spec: {ingressClassName: headway, defaultBackend: {service: {name: rest, port: {name: http}}}, tls: [{hosts: [a.example.com, "*.example.com"], secretName: cert}], rules: [{host: a.example.com, http: {paths: [{path: /a, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}}`
	path := func(i ing) *networkingv1.HTTPIngressPath { return &i.Spec.Rules[0].HTTP.Paths[0] }
	service := func(i ing) *networkingv1.IngressServiceBackend { return path(i).Backend.Service }
	typed := func(kind networkingv1.PathType, text string) func(ing) {
		return func(i ing) { path(i).PathType, path(i).Path = &kind, text }
	}
	const (
		at     = "spec.rules[0].http.paths[0]."
		ofPath = at + "path: Invalid value: "
		ofRef  = at + "backend.resource."
	)
	refer := func(group, kind, name string) func(ing) {
		return func(i ing) {
			path(i).Backend = networkingv1.IngressBackend{Resource: &corev1.TypedLocalObjectReference{APIGroup: &group, Kind: kind, Name: name}}
		}
	}
	create(t, base, cases[ing]{
		"rules alone":       {func(i ing) { i.Spec.DefaultBackend, i.Spec.TLS, i.Spec.IngressClassName = nil, nil, nil }, nil},
		"default alone":     {func(i ing) { i.Spec.Rules = nil }, nil},
		"nothing":           {func(i ing) { i.Spec.Rules, i.Spec.DefaultBackend = nil, nil }, []string{"spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"}},
		"a rule of no path": {func(i ing) { i.Spec.Rules[0].HTTP = nil }, nil},
		"no paths":          {func(i ing) { i.Spec.Rules[0].HTTP.Paths = nil }, []string{"spec.rules[0].http.paths: Required value"}},
		"name":              {func(i ing) { i.Name = "a_b" }, []string{`metadata.name: Invalid value: "a_b": ` + subdomain}},
		"wildcard":          {func(i ing) { i.Spec.Rules[0].Host = "*.example.com" }, nil},
		"odd wildcard":      {func(i ing) { i.Spec.Rules[0].Host = "a.*.com" }, []string{`spec.rules[0].host: Invalid value: "a.*.com": ` + wildcard}},
		"host":              {func(i ing) { i.Spec.Rules[0].Host = "a_b" }, []string{`spec.rules[0].host: Invalid value: "a_b": ` + subdomain}},
		"host is an IP":     {func(i ing) { i.Spec.Rules[0].Host = "192.0.2.1" }, []string{`spec.rules[0].host: Invalid value: "192.0.2.1": must be a DNS name, not an IP address`}},
		"host of TLS":       {func(i ing) { i.Spec.TLS[0].Hosts[0] = "a b" }, []string{`spec.tls[0].hosts[0]: Invalid value: "a b": ` + subdomain}},
		"wildcard of TLS":   {func(i ing) { i.Spec.TLS[0].Hosts[1] = "*" }, []string{`spec.tls[0].hosts[1]: Invalid value: "*": ` + wildcard}},
		"secret":            {func(i ing) { i.Spec.TLS[0].SecretName = "a_b" }, []string{`spec.tls[0].secretName: Invalid value: "a_b": ` + subdomain}},
		"no secret":         {func(i ing) { i.Spec.TLS[0].SecretName = "" }, nil},
		"class":             {func(i ing) { i.Spec.IngressClassName = new("A") }, []string{`spec.ingressClassName: Invalid value: "A": ` + subdomain}},
		"class twice":       {func(i ing) { i.Annotations = map[string]string{networking.ClassAnnotation: "headway"} }, nil},
		"two classes":       {func(i ing) { i.Annotations = map[string]string{networking.ClassAnnotation: "other"} }, []string{"annotations.kubernetes.io/ingress.class: Invalid value: \"other\": must match `ingressClassName` when both are specified"}},
		"no type":           {func(i ing) { path(i).PathType = nil }, []string{at + "pathType: Required value: pathType must be specified"}},
		"type":              {typed("Regex", "/a"), []string{at + `pathType: Unsupported value: "Regex": supported values: "Exact", "ImplementationSpecific", "Prefix"`}},
		"relative":          {typed("Exact", "a"), []string{ofPath + `"a": must be an absolute path`}},
		"no path":           {typed("Prefix", ""), []string{ofPath + `"": must be an absolute path`}},
		"sequences": {typed("Prefix", "//a/./b/../c%2f%2F"), []string{
			ofPath + `"//a/./b/../c%2f%2F": must not contain '//'`, ofPath + `"//a/./b/../c%2f%2F": must not contain '/./'`, ofPath + `"//a/./b/../c%2f%2F": must not contain '/../'`,
			ofPath + `"//a/./b/../c%2f%2F": must not contain '%2f'`, ofPath + `"//a/./b/../c%2f%2F": must not contain '%2F'`,
		}},
		"dots":                {typed("Exact", "/a/.."), []string{ofPath + `"/a/..": cannot end with '/..'`}},
		"dot":                 {typed("Exact", "/a/."), []string{ofPath + `"/a/.": cannot end with '/.'`}},
		"specific":            {typed("ImplementationSpecific", ""), nil},
		"specific, anything":  {typed("ImplementationSpecific", "/a//(b|c)"), nil},
		"specific, relative":  {typed("ImplementationSpecific", "a"), []string{ofPath + `"a": must be an absolute path`}},
		"no backend":          {func(i ing) { path(i).Backend.Service = nil }, []string{at + `backend: Invalid value: "": resource or service backend is required`}},
		"default of nothing":  {func(i ing) { i.Spec.DefaultBackend.Service = nil }, []string{`spec.defaultBackend: Invalid value: "": resource or service backend is required`}},
		"two backends":        {func(i ing) { path(i).Backend.Resource = &corev1.TypedLocalObjectReference{} }, []string{at + `backend: Invalid value: "": cannot set both resource and service backends`}},
		"resource":            {refer("example.com", "Bucket", "a"), nil},
		"resource of nothing": {refer("a_b", "", ""), []string{ofRef + `apiGroup: Invalid value: "a_b": ` + subdomain, ofRef + "kind: Required value", ofRef + "name: Required value"}},
		"resource of slashes": {refer("a", "b/c", "d/e"), []string{ofRef + `kind: Invalid value: "b/c": may not contain '/'`, ofRef + `name: Invalid value: "d/e": may not contain '/'`}},
		"no service":          {func(i ing) { service(i).Name = "" }, []string{at + "backend.service.name: Required value"}},
		"service":             {func(i ing) { service(i).Name = "a.b" }, []string{at + `backend.service.name: Invalid value: "a.b": must not contain dots`}},
		"service of digits":   {func(i ing) { service(i).Name = "1a" }, nil},
		"two ports":           {func(i ing) { service(i).Port.Name = "http" }, []string{at + `backend: Invalid value: "": cannot set both port name & port number`}},
		"no port":             {func(i ing) { service(i).Port.Number = 0 }, []string{at + "backend: Required value: port name or number is required"}},
		"port":                {func(i ing) { service(i).Port.Number = 70000 }, []string{at + "backend.service.port.number: Invalid value: 70000: must be between 1 and 65535, inclusive"}},
		"port's name":         {func(i ing) { i.Spec.DefaultBackend.Service.Port.Name = "a--b" }, []string{`spec.defaultBackend.service.port.name: Invalid value: "a--b": must not contain consecutive hyphens`}},
	})
	update(t, base, cases[ing]{
		"rules":       {func(i ing) { i.Spec.Rules = nil }, nil},
		"class":       {func(i ing) { i.Spec.IngressClassName = new("other") }, nil},
		"two classes": {func(i ing) { i.Annotations = map[string]string{networking.ClassAnnotation: "other"} }, nil},
		"secret":      {func(i ing) { i.Spec.TLS[0].SecretName = "a_b" }, []string{`spec.tls[0].secretName: Invalid value: "a_b": ` + subdomain}},
	})
	old := strings.NewReplacer("secretName: cert", "secretName: a_b", "host: a.example.com", `host: "*.example.com"`, "path: /a", "path: a").Replace(base)
	update(t, old, cases[ing]{
		"what was odd before": {func(i ing) { i.Spec.IngressClassName = new("other") }, nil},
		"an odd host":         {func(i ing) { i.Spec.Rules[0].Host = "a.example.com" }, []string{ofPath + `"a": must be an absolute path`}},
	})
	served := func(ip, hostname string) func(ing) {
		return func(i ing) {
			i.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: ip, Hostname: hostname}}
		}
	}
	updateStatus(t, base, cases[ing]{
		"address":            {served("192.0.2.1", ""), nil},
		"hostname":           {served("", "lb.example.com"), nil},
		"no address":         {served("x", ""), []string{`status.loadBalancer.ingress[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`}},
		"no name":            {served("", "a_b"), []string{`status.loadBalancer.ingress[0].hostname: Invalid value: "a_b": ` + subdomain}},
		"an address as name": {served("", "192.0.2.1"), []string{`status.loadBalancer.ingress[0].hostname: Invalid value: "192.0.2.1": must be a DNS name, not an IP address`}},
	})
}

func ingressClassCases(t *testing.T) {
	t.Helper()
	type class = *networkingv1.IngressClass
	base := `{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: proxy}, spec: {controller: example.com/proxy, parameters: {apiGroup: example.com, kind: Settings, name: a, scope: Namespace, namespace: shop}}}`
	const at = "spec.parameters."
	create(t, base, cases[class]{
		"bare":            {func(c class) { c.Spec.Parameters = nil }, nil},
		"name":            {func(c class) { c.Name = "a_b" }, []string{`metadata.name: Invalid value: "a_b": ` + subdomain}},
		"no controller":   {func(c class) { c.Spec.Controller = "" }, []string{"spec.controller: Required value"}},
		"controller":      {func(c class) { c.Spec.Controller = "proxy" }, []string{`spec.controller: Invalid value: "proxy": must be a domain-prefixed path (such as "acme.io/foo")`}},
		"long controller": {func(c class) { c.Spec.Controller = "a.b/" + strings.Repeat("c", 250) }, []string{"spec.controller: Too long: may not be more than 250 bytes"}},
		"group":           {func(c class) { c.Spec.Parameters.APIGroup = new("a_b") }, []string{at + `apiGroup: Invalid value: "a_b": ` + subdomain}},
		"no object":       {func(c class) { c.Spec.Parameters.Kind, c.Spec.Parameters.Name = "", "" }, []string{at + "kind: Required value", at + "name: Required value"}},
		"scope":           {func(c class) { c.Spec.Parameters.Scope = new("World") }, []string{at + `scope: Unsupported value: "World": supported values: "Cluster", "Namespace"`}},
		"of the cluster":  {func(c class) { c.Spec.Parameters.Scope = new("Cluster") }, []string{at + "namespace: Forbidden: `parameters.scope` is set to 'Cluster'"}},
		"no namespace":    {func(c class) { c.Spec.Parameters.Namespace = nil }, []string{at + "namespace: Required value: `parameters.scope` is set to 'Namespace'"}},
		"namespace":       {func(c class) { c.Spec.Parameters.Namespace = new("a.b") }, []string{at + `namespace: Invalid value: "a.b": must not contain dots`}},
	})
	update(t, base, cases[class]{
		"parameters": {func(c class) { c.Spec.Parameters = nil }, nil},
		"controller": {func(c class) { c.Spec.Controller = "example.com/other" }, []string{`spec.controller: Invalid value: "example.com/other": field is immutable`}},
	})
}
