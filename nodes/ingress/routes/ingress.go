package routes

import (
	"cmp"
	"fmt"
	"slices"

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
	// Certificates have each host once.
	Certificates []Certificate
	Warnings     []Warning
	// Backends are all that the table has.
	Backends map[Backend]bool
}

// FromIngresses makes routes of Ingresses. Where two ask for the same, the older one gets
// it.
func FromIngresses(list []*networkingv1.Ingress) Routes {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *networkingv1.Ingress) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	b := &builder{Routes: Routes{Backends: map[Backend]bool{}}, of: map[*Action]*networkingv1.Ingress{}}
	hosts := map[string]bool{}
	for _, i := range list {
		b.add(i)
		for _, c := range certificates(i) {
			if !hosts[c.Host] {
				hosts[c.Host] = true
				b.Certificates = append(b.Certificates, c)
			}
		}
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

type builder struct {
	Routes
	rules []Rule
	rest  *Action
	of    map[*Action]*networkingv1.Ingress
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
			b.rules = append(b.rules, Rule{Host: r.Host, Type: kind, Path: cmp.Or(p.Path, "/"), Action: b.action(i, &p.Backend, options)})
		}
	}
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
