package routes

import (
	"path"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Backend is a port of a Service. The zero value is none.
type Backend struct {
	Service types.NamespacedName
	// Port has the name or the number of the Service's port.
	Port networkingv1.ServiceBackendPort
	// HTTP2 says that it speaks HTTP/2 if its Service says nothing else.
	HTTP2 bool
}

// Action is what is done with a request.
type Action struct {
	// From is whose rule it is, of the kind Kind; without one it is an Ingress'.
	From types.NamespacedName
	Kind string
	// Backend is where the request goes, unless Split says it.
	Backend Backend
	// Unserved says why there is no Backend, for people; empty if there is.
	Unserved string
	Options  Options
	// Split are the backends that share the requests of a route; nil: it is none.
	Split *Split
	// Filters are what is done with requests and answers, and Redirect is what they are
	// answered with in place of a backend's answer; nil: nothing.
	Filters  *Filters
	Redirect *Redirect
	// Prefix is the one that the path was found by.
	Prefix string
}

// PathType is how a path of a rule is compared with that of a request.
type PathType int

// The types of paths. Prefix goes by the elements between slashes.
const (
	Exact PathType = iota + 1
	Prefix
	// Rest is what no other path of the same host takes.
	Rest
	// Regexp is an expression for the whole path. It comes after Exact, before Prefix.
	Regexp
	// Late is an expression that comes after all prefixes but /.
	Late
)

// Rule is one of those that make a Table. Of rules that say something about the same
// host and path, the first is in force.
type Rule struct {
	// Host is a name, *.NAME for all names that have one label more, or empty for all.
	Host string
	Type PathType
	Path string
	// Conditions are what else a request has to have; nil: nothing. Of rules with the
	// same host and path and with Conditions, the first that a request fits is in force.
	Conditions *Conditions
	Action     *Action
}

// Table finds the action of a request.
type Table struct {
	exact, wildcard map[string]*host
	any             *host
	// rest is for what no host has.
	rest *Action
	// deep has *.NAME be for all names that end so, as the Gateway API has it.
	deep bool
}

// host is what one of the hosts has.
type host struct {
	// parts are the paths of an Ingress table, or those of each route, the oldest first. Those
	// of a route are shared by all its hosts at all its listeners: of a few objects there
	// would be millions of rules otherwise.
	parts []*paths
	rest  *Action
}

// paths are those of some rules, whatever their host.
type paths struct {
	exact, prefix map[string][]entry
	regexps, late []entry
}

// entry is one of the rules of a path.
type entry struct {
	conditions *Conditions
	action     *Action
	rank       rank
}

// first is the first that a request, which may be nil, fits.
func first(list []entry, path string, r *Request) *entry {
	for i := range list {
		if list[i].conditions.fit(path, r) {
			return &list[i]
		}
	}
	return nil
}

// NewTable makes a table of rules, and returns those that are not in force, as an
// earlier one has their host and path. rest is the action of requests that no rule is
// about; nil: there is none.
func NewTable(rules []Rule, rest *Action) (t *Table, taken []Rule) {
	t = newTable()
	t.rest = rest
	for _, r := range rules {
		if !t.add(r) {
			taken = append(taken, r)
		}
	}
	return t, taken
}

func newTable() *Table { return &Table{exact: map[string]*host{}, wildcard: map[string]*host{}} }

func (t *Table) add(r Rule) bool {
	h := t.host(r.Host)
	if r.Type == Rest {
		if h.rest != nil {
			return false
		}
		h.rest = r.Action
		return true
	}
	if len(h.parts) == 0 {
		h.parts = []*paths{newPaths()}
	}
	return h.parts[0].add(r, rank{})
}

// add adds a rule, and reports whether it is in force.
func (p *paths) add(r Rule, of rank) bool {
	add := entry{r.Conditions, r.Action, of}
	in, key := p.exact, r.Path
	switch r.Type {
	case Regexp:
		p.regexps = append(p.regexps, add)
		return true
	case Late:
		p.late = append(p.late, add)
		return true
	case Prefix:
		in, key = p.prefix, strings.TrimRight(r.Path, "/")
	case Exact, Rest:
	}
	if n := len(in[key]); n > 0 && in[key][n-1].conditions == nil {
		return false // that one takes all
	}
	in[key] = append(in[key], add)
	return true
}

func (t *Table) host(name string) *host {
	name = strings.ToLower(name)
	if name == "" {
		if t.any == nil {
			t.any = &host{}
		}
		return t.any
	}
	in, key := t.exact, name
	if parent, ok := strings.CutPrefix(name, "*."); ok {
		in, key = t.wildcard, parent
	}
	if in[key] == nil {
		in[key] = &host{}
	}
	return in[key]
}

func newPaths() *paths {
	return &paths{exact: map[string][]entry{}, prefix: map[string][]entry{}}
}

// Match finds the action of a request for a host, which may have a port, and a path
// without its escapes: of the rules whose host and path match, that of the most exact
// host, and of those that of the longest path, an exact one first. It is nil if there is
// none.
func (t *Table) Match(host, requested string) *Action {
	a, _ := t.match(Hostname(host), Clean(requested), nil)
	return a
}

// How exactly a rule names the host of a request: the length of a wildcard, or one of these.
const (
	anyHost   = 0
	exactHost = longestName + 1
)

// match is Match for a name and a path that are clean, and for the rest of a request. exact is
// how exactly the action's rule names the host.
func (t *Table) match(name, clean string, r *Request) (a *Action, exact int) {
	if t == nil {
		return nil, anyHost
	}
	type candidate struct {
		*host
		exact int
	}
	var room [4]candidate
	candidates := append(room[:0], candidate{t.exact[name], exactHost})
	for label, parent, more := strings.Cut(name, "."); more && label != "" && parent != ""; label, parent, more = strings.Cut(parent, ".") {
		candidates = append(candidates, candidate{t.wildcard[parent], len(parent)})
		if !t.deep {
			break
		}
	}
	candidates = append(candidates, candidate{t.any, anyHost})
	for _, h := range candidates {
		if a := h.match(clean, r); a != nil {
			return a, h.exact
		}
	}
	for _, h := range candidates {
		if h.host != nil && h.rest != nil {
			return h.rest, h.exact
		}
	}
	return t.rest, anyHost
}

func (h *host) match(clean string, r *Request) *Action {
	if h == nil {
		return nil
	}
	if a := h.best(clean, r, func(p *paths) []entry { return p.exact[clean] }); a != nil {
		return a
	}
	if a := h.best(clean, r, func(p *paths) []entry { return p.regexps }); a != nil {
		return a
	}
	for at := strings.TrimRight(clean, "/"); at != ""; at = at[:strings.LastIndexByte(at, '/')] {
		if a := h.best(clean, r, func(p *paths) []entry { return p.prefix[at] }); a != nil {
			return a
		}
	}
	if a := h.best(clean, r, func(p *paths) []entry { return p.late }); a != nil {
		return a
	}
	return h.best(clean, r, func(p *paths) []entry { return p.prefix[""] })
}

// best is the action of the most exact rule that a request fits, of some rules of each part,
// which have the most exact ones first; of several as exact ones that of the first part.
func (h *host) best(clean string, r *Request, of func(*paths) []entry) *Action {
	var found *entry
	for _, p := range h.parts {
		if e := first(of(p), clean, r); e != nil && (found == nil || e.rank.compare(found.rank) < 0) {
			found = e
		}
	}
	if found == nil {
		return nil
	}
	return found.action
}

// Clean is a path as it is compared: absolute and without empty elements, . and .., so
// that nobody gets around a rule by spelling a path in another way. A slash at its end
// stays.
func Clean(requested string) string {
	clean := path.Clean("/" + requested)
	if clean != "/" && (strings.HasSuffix(requested, "/") || strings.HasSuffix(requested, "/.") || strings.HasSuffix(requested, "/..")) {
		clean += "/"
	}
	return clean
}

// Hostname is the name that the Host of a request has, without port and final dot, in
// small letters.
func Hostname(host string) string {
	if strings.HasPrefix(host, "[") { // an IPv6 address, which no rule has
		name, _, _ := strings.Cut(host[1:], "]")
		return name
	}
	name, _, _ := strings.Cut(host, ":")
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
