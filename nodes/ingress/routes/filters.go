package routes

import (
	"net/http"
	"net/url"
	"strings"
)

// Split is how backends share requests.
type Split struct {
	Targets []Target
	// Total is the sum of the weights.
	Total int64
}

// Target is a backend that gets a share of the requests.
type Target struct {
	Weight  int64
	Backend Backend
	// Invalid says why it is none, for people; its share is answered with 500 then.
	Invalid string
	Filters *Filters
}

// Pick is the target at a place between 0 and Total, that excluded; nil: there is none.
func (s *Split) Pick(place int64) *Target {
	for i := range s.Targets {
		t := &s.Targets[i]
		if place < t.Weight {
			return t
		}
		place -= t.Weight
	}
	return nil
}

// Filters are what is done with requests and answers.
type Filters struct {
	Request, Response Headers
	// Host replaces the request's; empty: it stays. Path, too; nil: it stays.
	Host    string
	Path    *Path
	Mirrors []Mirror
}

// Headers are changes of a header, in the order of the fields.
type Headers struct {
	Set, Add [][2]string // name and value
	Remove   []string
}

// Edit makes the changes.
func (h *Headers) Edit(header http.Header) {
	for _, kv := range h.Set {
		header.Set(kv[0], kv[1])
	}
	for _, kv := range h.Add {
		header.Add(kv[0], kv[1])
	}
	for _, name := range h.Remove {
		header.Del(name)
	}
}

// Mirror is a backend that gets copies of Numerator of Denominator requests, and whose
// answers nobody sees.
type Mirror struct {
	Backend                Backend
	Numerator, Denominator int64
}

// Path is what a path is replaced by: as a whole, or only the prefix by which it was found.
type Path struct {
	Full        bool
	Replacement string
}

// Edit changes the path of u, which was found by prefix. What clients escape stays so.
func (p *Path) Edit(u *url.URL, prefix string) {
	escaped := p.Replacement
	if !p.Full {
		prefix = strings.TrimRight(prefix, "/")
		escaped = Clean(u.EscapedPath())
		rest, found := strings.CutPrefix(escaped, prefix)
		if !found || rest != "" && rest[0] != '/' { // the prefix is escaped otherwise
			rest = (&url.URL{Path: strings.TrimPrefix(Clean(u.Path), prefix)}).EscapedPath()
		}
		if escaped = p.Replacement; rest != "" {
			escaped = strings.TrimRight(escaped, "/") + rest
		}
	}
	if !strings.HasPrefix(escaped, "/") {
		escaped = "/" + escaped
	}
	path, err := url.PathUnescape(escaped)
	if err != nil {
		u.Path, u.RawPath = escaped, ""
		return
	}
	u.Path, u.RawPath = path, escaped
}

// Redirect is an answer that sends clients elsewhere.
type Redirect struct {
	// Scheme and Host are the request's if they are empty; Port is the one of the scheme, if
	// that is given, or else that of the listener, if it is 0.
	Scheme, Host string
	Port         int32
	Path         *Path // nil: the request's
	Code         int
}

// Location is where a request to a port is sent, whose path was found by prefix.
func (d *Redirect) Location(r *http.Request, port int32, prefix string) string {
	u := url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, Scheme: "http"}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	if d.Scheme != "" {
		u.Scheme = d.Scheme
	}
	if d.Path != nil {
		d.Path.Edit(&u, prefix)
	}
	if u.Host = d.Host; u.Host == "" {
		if u.Host = Hostname(r.Host); strings.Contains(u.Host, ":") {
			u.Host = "[" + u.Host + "]"
		}
	}
	at := d.Port
	if at == 0 && d.Scheme == "" {
		at = port
	}
	usual := map[string]int32{"http": 80, "https": 443}
	if at != 0 && usual[u.Scheme] != at {
		u.Host += ":" + itoa(at)
	}
	return u.String()
}
