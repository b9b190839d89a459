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
}

// Action is what is done with a request.
type Action struct {
	// From is whose rule it is.
	From types.NamespacedName
	// Backend is where the request goes.
	Backend Backend
	// Unserved says why there is no Backend, for people; empty if there is.
	Unserved string
	Options  Options
}

// PathType is how a path of a rule is compared with that of a request.
type PathType int

// The types of paths. Prefix goes by the elements between slashes.
const (
	Exact PathType = iota + 1
	Prefix
	// Rest is what no other path of the same host takes.
	Rest
)

// Rule is one of those that make a Table. Of rules that say something about the same
// host and path, the first is in force.
type Rule struct {
	// Host is a name, *.NAME for all names that have one label more, or empty for all.
	Host   string
	Type   PathType
	Path   string
	Action *Action
}

// Table finds the action of a request.
type Table struct {
	exact, wildcard map[string]*paths
	any             *paths
	// rest is for what no host has.
	rest *Action
}

// paths are those of one host.
type paths struct {
	exact, prefix map[string]*Action
	rest          *Action
}

// NewTable makes a table of rules, and returns those that are not in force, as an
// earlier one has their host and path. rest is the action of requests that no rule is
// about; nil: there is none.
func NewTable(rules []Rule, rest *Action) (t *Table, taken []Rule) {
	t = &Table{exact: map[string]*paths{}, wildcard: map[string]*paths{}, rest: rest}
	for _, r := range rules {
		if !t.add(r) {
			taken = append(taken, r)
		}
	}
	return t, taken
}

func (t *Table) add(r Rule) bool {
	p := t.host(r.Host)
	if r.Type == Rest {
		if p.rest != nil {
			return false
		}
		p.rest = r.Action
		return true
	}
	in, key := p.exact, r.Path
	if r.Type == Prefix {
		in, key = p.prefix, strings.TrimRight(r.Path, "/")
	}
	if in[key] != nil {
		return false
	}
	in[key] = r.Action
	return true
}

func (t *Table) host(host string) *paths {
	host = strings.ToLower(host)
	if host == "" {
		if t.any == nil {
			t.any = newPaths()
		}
		return t.any
	}
	in, key := t.exact, host
	if name, ok := strings.CutPrefix(host, "*."); ok {
		in, key = t.wildcard, name
	}
	if in[key] == nil {
		in[key] = newPaths()
	}
	return in[key]
}

func newPaths() *paths {
	return &paths{exact: map[string]*Action{}, prefix: map[string]*Action{}}
}

// Match finds the action of a request for a host, which may have a port, and a path
// without its escapes: of the rules whose host and path match, that of the most exact
// host, and of those that of the longest path, an exact one first. It is nil if there is
// none.
func (t *Table) Match(host, requested string) *Action {
	if t == nil {
		return nil
	}
	name, clean := Hostname(host), Clean(requested)
	candidates := [3]*paths{t.exact[name], nil, t.any}
	if label, parent, _ := strings.Cut(name, "."); label != "" && parent != "" {
		candidates[1] = t.wildcard[parent]
	}
	for _, p := range candidates {
		if a := p.match(clean); a != nil {
			return a
		}
	}
	for _, p := range candidates {
		if p != nil && p.rest != nil {
			return p.rest
		}
	}
	return t.rest
}

func (p *paths) match(clean string) *Action {
	if p == nil {
		return nil
	}
	if a := p.exact[clean]; a != nil {
		return a
	}
	for at := strings.TrimRight(clean, "/"); ; at = at[:strings.LastIndexByte(at, '/')] {
		if a := p.prefix[at]; a != nil || at == "" {
			return a
		}
	}
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
