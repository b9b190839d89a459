package routes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Certificate says that a host is served with the certificate of a Secret.
type Certificate struct {
	// Host is as in Rule; empty: all that no other certificate is for.
	Host   string
	Secret types.NamespacedName
}

// Warning is what the owners of an Ingress are told.
type Warning struct {
	Ingress         *networkingv1.Ingress
	Reason, Message string
}

// Routes are what Ingresses ask for.
type Routes struct {
	Table *Table
	// Certificates have each host as often as Ingresses of the namespace that owns it name
	// one: the first that can be read is in force.
	Certificates []Certificate
	Warnings     []Warning
	// Backends are all that the table has.
	Backends map[Backend]bool
}

// FromIngresses makes routes of Ingresses. Where two ask for the same, the older one gets
// it. A host is that of one namespace alone, whose Ingress was the first to name it: others
// could take over parts of what it serves.
func FromIngresses(list []*networkingv1.Ingress) Routes {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *networkingv1.Ingress) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	b := &builder{Routes: Routes{Backends: map[Backend]bool{}}, of: map[*Action]*networkingv1.Ingress{}}
	b.owners = owners(list)
	for _, i := range list {
		b.add(i)
		b.certify(i)
	}
	var taken []Rule
	b.Table, taken = NewTable(b.rules, b.rest)
	for _, r := range taken {
		if r.Type == Rest {
			continue // the default backend of an older one for a host that both have
		}
		b.warn(b.of[r.Action], "RuleConflict", "an older rule serves %s%s; this one has no effect", cmp.Or(r.Host, "*"), r.Path)
	}
	return b.Routes
}

// owners are the namespaces of hosts, by a list that begins with the oldest Ingress.
func owners(list []*networkingv1.Ingress) map[string]string {
	of := map[string]string{}
	own := func(host, namespace string) {
		if host = strings.ToLower(host); host != "" && of[host] == "" {
			of[host] = namespace
		}
	}
	for _, i := range list {
		for _, r := range i.Spec.Rules {
			own(r.Host, i.Namespace)
		}
		for _, t := range i.Spec.TLS {
			for _, h := range t.Hosts {
				own(h, i.Namespace)
			}
		}
	}
	return of
}

type builder struct {
	Routes
	owners map[string]string
	others string // whose certificates are for what no other one is for
	rules  []Rule
	rest   *Action
	of     map[*Action]*networkingv1.Ingress
}

func (b *builder) warn(i *networkingv1.Ingress, reason, format string, args ...any) {
	b.Warnings = append(b.Warnings, Warning{i, reason, fmt.Sprintf(format, args...)})
}

func (b *builder) add(i *networkingv1.Ingress) {
	options, faults := parseOptions(i.Annotations)
	for _, f := range faults {
		b.warn(i, "InvalidAnnotation", "%s; the default is in force", f)
	}
	var rest *Action
	if d := i.Spec.DefaultBackend; d != nil {
		rest = b.action(i, d, options)
		if b.rest == nil {
			b.rest = rest
		}
	}
	for _, r := range i.Spec.Rules {
		if owner := b.owner(r.Host, i); owner != i.Namespace {
			b.warn(i, "RuleConflict", "the host %s is the namespace %s's, whose Ingress names it for longer; rules of other namespaces for it have no effect", r.Host, owner)
			continue
		}
		if rest != nil {
			b.rules = append(b.rules, Rule{Host: r.Host, Type: Rest, Action: rest})
		}
		if r.HTTP == nil {
			continue
		}
		for n := range r.HTTP.Paths {
			p := &r.HTTP.Paths[n]
			kind := Prefix // also what ImplementationSpecific means
			if p.PathType != nil && *p.PathType == networkingv1.PathTypeExact {
				kind = Exact
			}
			if p.PathType != nil && *p.PathType == networkingv1.PathTypeImplementationSpecific && odd(p.Path) {
				b.warn(i, "UnservedPath", "the path %s is compared as it is written, as that of the type Prefix: expressions, escapes, // and .. mean nothing in it, and hardly any request has it", p.Path)
			}
			b.rules = append(b.rules, Rule{Host: r.Host, Type: kind, Path: cmp.Or(p.Path, "/"), Action: b.action(i, &p.Backend, options)})
		}
	}
}

// owner is the namespace whose Ingresses may say something about a host; what is without
// a host is everybody's.
func (b *builder) owner(host string, i *networkingv1.Ingress) string {
	return cmp.Or(b.owners[strings.ToLower(host)], i.Namespace)
}

// certify adds the certificates that an Ingress names.
func (b *builder) certify(i *networkingv1.Ingress) {
	for _, c := range certificates(i) {
		c.Host = strings.ToLower(c.Host)
		owner := b.owner(c.Host, i)
		if c.Host == "" { // for all others: the oldest that has one
			b.others = cmp.Or(b.others, i.Namespace)
			owner = b.others
		}
		if owner != i.Namespace {
			b.warn(i, "CertificateConflict", "the host %s is the namespace %s's, whose Ingress names it for longer; the certificate of the Secret %s is not served for it", cmp.Or(c.Host, "*"), owner, c.Secret.Name)
			continue
		}
		b.Certificates = append(b.Certificates, c)
	}
}

// odd reports whether a path, as other proxies know it, is one that no request has, or
// hardly any: one with an expression, with an escape, or in a spelling that is not compared.
func odd(path string) bool {
	path = strings.TrimRight(path, "/")
	return path != "" && Clean(path) != path || strings.ContainsAny(path, `%\^$*+?()[]{}|`)
}

func (b *builder) action(i *networkingv1.Ingress, to *networkingv1.IngressBackend, options Options) *Action {
	a := &Action{From: types.NamespacedName{Namespace: i.Namespace, Name: i.Name}, Options: options}
	b.of[a] = i
	if to.Service == nil {
		a.Unserved = "its backend is a resource"
		if r := to.Resource; r != nil {
			a.Unserved = fmt.Sprintf("its backend is the resource %s %s, and only Services can be served", r.Kind, r.Name)
		}
		b.warn(i, "UnservedBackend", "requests are answered with 503: %s", a.Unserved)
		return a
	}
	a.Backend = Backend{Service: types.NamespacedName{Namespace: i.Namespace, Name: to.Service.Name}, Port: to.Service.Port}
	b.Backends[a.Backend] = true
	return a
}

// certificates are those that an Ingress asks for. Without hosts, one is for those of
// the rules.
func certificates(i *networkingv1.Ingress) []Certificate {
	var list []Certificate
	for _, tls := range i.Spec.TLS {
		if tls.SecretName == "" {
			continue // the proxy's own
		}
		secret := types.NamespacedName{Namespace: i.Namespace, Name: tls.SecretName}
		hosts := tls.Hosts
		if len(hosts) == 0 {
			for _, r := range i.Spec.Rules {
				hosts = append(hosts, r.Host)
			}
		}
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		for _, h := range hosts {
			list = append(list, Certificate{h, secret})
		}
	}
	return list
}
