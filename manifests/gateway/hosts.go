package gateway

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// intersection are the hosts of a route that a listener has.
func intersection(listener string, route []gatewayv1.Hostname) []string {
	if len(route) == 0 {
		return []string{listener}
	}
	var list []string
	for _, h := range route {
		host := strings.ToLower(string(h))
		switch {
		case listener == "" || covers(listener, host):
		case covers(host, listener):
			host = listener
		default:
			continue
		}
		if !slices.Contains(list, host) {
			list = append(list, host)
		}
	}
	return list
}

// covers reports whether a host, which may be *.NAME, has all that another one has.
func covers(host, other string) bool {
	if host == other {
		return true
	}
	parent, wild := strings.CutPrefix(host, "*")
	return wild && strings.HasSuffix(other, parent) && len(other) > len(parent)
}

// claims are the hosts of a listener that the routes of each kind have.
type claims map[schema.GroupKind]claimed

// claim remembers the hosts of a route, which has been attached.
func (d *Decision) claim(a Attachment, kind schema.GroupKind) {
	of := d.claims[a.Listener]
	if of == nil {
		of = claims{}
		d.claims[a.Listener] = of
	}
	list := of[kind]
	for _, h := range a.Hosts {
		list.add(h)
	}
	of[kind] = list
}

// taken reports whether a route of another kind than a route's has a host that one of the
// route's intersects. Of an HTTPRoute and a GRPCRoute with such hosts the older one alone has
// the listener: a client could not tell which of them would get its request.
func (c claims) taken(kind schema.GroupKind, hosts []string) bool {
	for other, list := range c {
		if other != kind && slices.ContainsFunc(hosts, list.intersects) {
			return true
		}
	}
	return false
}

// claimed are hosts with their letters in reverse, sorted: all names of a wildcard are next to
// each other, and it takes a few looks to find one, however many there are.
type claimed []string

func reverse(host string) string {
	b := []byte(host)
	slices.Reverse(b)
	return string(b)
}

func (c *claimed) add(host string) {
	host = reverse(host)
	if at, found := slices.BinarySearch(*c, host); !found {
		*c = slices.Insert(*c, at, host)
	}
}

// intersects reports whether there are names that a host, which may be *.NAME or empty for
// all, and one of those claimed have both.
func (c claimed) intersects(host string) bool {
	if len(c) == 0 {
		return false
	}
	if host == "" || c[0] == "" {
		return true
	}
	host = reverse(host)
	if name, wild := strings.CutSuffix(host, "*"); wild { // one that it has
		if at, _ := slices.BinarySearch(c, name); at < len(c) && strings.HasPrefix(c[at], name) {
			return true
		}
	} else if _, found := slices.BinarySearch(c, host); found {
		return true
	}
	for i := range len(host) { // a wildcard that has it
		if host[i] != '.' || i+1 == len(host) {
			continue
		}
		if _, found := slices.BinarySearch(c, host[:i+1]+"*"); found {
			return true
		}
	}
	return false
}
