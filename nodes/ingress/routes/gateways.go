package routes

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/gateway"
)

func itoa(n int32) string { return strconv.Itoa(int(n)) }

// Gateways are what Gateways and their routes ask for. Nil is nothing.
type Gateways struct {
	ports map[int32]*port
	// Backends are all that there are.
	Backends map[Backend]bool
}

// port is one that Gateways listen at.
type port struct {
	secure bool
	// listeners are by their hosts: a name, *.NAME, or an empty one for all.
	listeners map[string]*Table
	// certificates are in the order in which Gateways name them.
	certificates []Certificate
}

// FromGateways makes routes of what was decided about Gateways.
func FromGateways(d *gateway.Decision) *Gateways {
	g := &Gateways{ports: map[int32]*port{}, Backends: map[Backend]bool{}}
	tables := map[*gateway.Listener]*Table{}
	for _, r := range d.Routes { // the oldest first
		if len(r.Attached) == 0 {
			continue
		}
		rules := compilePaths(d, r, g.Backends)
		for _, a := range r.Attached {
			t := tables[a.Listener]
			if t == nil {
				t = newTable()
				tables[a.Listener] = t
			}
			for _, name := range a.Hosts {
				h := t.host(name)
				h.parts = append(h.parts, rules)
			}
		}
	}
	for _, own := range d.Gateways {
		for _, l := range own.Listeners {
			if l.Served() {
				g.listen(l, cmp.Or(tables[l], newTable()))
			}
		}
	}
	return g
}

// compilePaths are the rules of a route, the most exact of each path first.
func compilePaths(d *gateway.Decision, r *gateway.Route, backends map[Backend]bool) *paths {
	list := compile(d, r, backends)
	slices.SortStableFunc(list, func(a, b routeRule) int { return a.rank.compare(b.rank) })
	p := newPaths()
	for _, rule := range list {
		p.add(rule.Rule, rule.rank)
	}
	return p
}

func (g *Gateways) listen(l *gateway.Listener, t *Table) {
	p := g.ports[l.Spec.Port]
	if p == nil {
		p = &port{secure: l.Secure(), listeners: map[string]*Table{}}
		g.ports[l.Spec.Port] = p
	}
	t.deep = true
	p.listeners[l.Hostname] = t
	for _, secret := range l.Certificates {
		p.certificates = append(p.certificates, Certificate{Host: l.Hostname, Secret: secret})
	}
}

// Ports are those that Gateways listen at, and whether by TLS.
func (g *Gateways) Ports() map[int32]bool {
	list := map[int32]bool{}
	if g != nil {
		for n, p := range g.ports {
			list[n] = p.secure
		}
	}
	return list
}

// Certificates are those of the listeners at a port, each host's as often as it has one.
func (g *Gateways) Certificates(port int32) []Certificate {
	if g == nil || g.ports[port] == nil {
		return nil
	}
	return g.ports[port].certificates
}

// listener is the most exact one for a name; nil: there is none.
func (p *port) listener(name string) *Table {
	if t := p.listeners[name]; t != nil {
		return t
	}
	for at := name; ; {
		_, parent, more := strings.Cut(at, ".")
		if !more {
			return p.listeners[""]
		}
		if t := p.listeners["*."+parent]; t != nil {
			return t
		}
		at = parent
	}
}

// longestName is how long a name of DNS can be (RFC 1035).
const longestName = 253

// Match finds the action of a request to a port; nil: there is none. misdirected: the
// client was shown the certificate of another listener than the one of the request's host,
// which may have other rules about who speaks to it.
func (g *Gateways) Match(at int32, r *http.Request) (a *Action, misdirected bool) {
	a, _, misdirected = g.match(at, r)
	return a, misdirected
}

// Match finds the action of a request to a port where Ingresses are served, too: that of the
// rule that names its host most exactly, and of those as exact as each other the Gateway's.
// Who has a host of an Ingress keeps it so when a Gateway comes that is for all hosts.
func Match(g *Gateways, ingresses *Table, at int32, r *http.Request) (a *Action, misdirected bool) {
	a, exact, misdirected := g.match(at, r)
	if misdirected || a != nil && exact == exactHost {
		return a, misdirected
	}
	if own, named := ingresses.match(Hostname(r.Host), Clean(r.URL.Path), nil); own != nil && (a == nil || named > exact) {
		return own, false
	}
	return a, false
}

func (g *Gateways) match(at int32, r *http.Request) (a *Action, exact int, misdirected bool) {
	if g == nil || g.ports[at] == nil {
		return nil, anyHost, false
	}
	p, name := g.ports[at], Hostname(r.Host)
	if len(name) > longestName || r.TLS != nil && len(r.TLS.ServerName) > longestName {
		return nil, anyHost, false // each label costs a look
	}
	t := p.listener(name)
	if t == nil {
		return nil, anyHost, false
	}
	if p.secure && r.TLS != nil && r.TLS.ServerName != "" && len(p.listeners) > 1 && p.listener(Hostname(r.TLS.ServerName)) != t {
		return nil, anyHost, true
	}
	a, exact = t.match(name, Clean(r.URL.Path), &Request{Request: r})
	return a, exact, false
}

// rank is how exactly a rule says which requests it is for, besides their host and path.
type rank struct {
	path           int // of expressions
	method         bool
	headers, query int
}

func (r rank) compare(other rank) int {
	method := 0
	if r.method != other.method {
		if method = 1; r.method {
			method = -1
		}
	}
	return cmp.Or(cmp.Compare(other.path, r.path), method, cmp.Compare(other.headers, r.headers), cmp.Compare(other.query, r.query))
}

type routeRule struct {
	Rule
	rank rank
}

func nameOf(r *gateway.Route) types.NamespacedName {
	return types.NamespacedName{Namespace: r.GetNamespace(), Name: r.GetName()}
}
