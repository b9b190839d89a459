package routes

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Request is what of a request a Table goes by. It is for one goroutine.
type Request struct {
	*http.Request
	query url.Values // once it has been asked for
}

// Conditions are what a request has to have besides a host and a path. All have to hold.
type Conditions struct {
	// Path has to match the whole path; nil: it is compared otherwise.
	Path *regexp.Regexp
	// Method is the one of HTTP; empty: all.
	Method         string
	Headers, Query []Value
}

// Value is one that a header or a parameter of the query has to have.
type Value struct {
	Name string // of a header in its canonical form
	// Regexp has to match the whole of it, or if it is nil, it has to be Exact.
	Exact  string
	Regexp *regexp.Regexp
}

func (v *Value) fits(text string) bool {
	if v.Regexp != nil {
		return v.Regexp.MatchString(text)
	}
	return v.Exact == text
}

// fit reports whether a request has what there is to have. Nobody knows of nil what it
// has.
func (c *Conditions) fit(path string, r *Request) bool {
	switch {
	case c == nil:
		return true
	case r == nil, c.Method != "" && c.Method != r.Method, c.Path != nil && !c.Path.MatchString(path):
		return false
	}
	for i := range c.Headers {
		values := r.Header.Values(c.Headers[i].Name)
		if len(values) == 0 || !c.Headers[i].fits(strings.Join(values, ",")) {
			return false
		}
	}
	if len(c.Query) > 0 && r.query == nil {
		r.query, _ = url.ParseQuery(r.URL.RawQuery) // with what can be read
	}
	for i := range c.Query {
		values := r.query[c.Query[i].Name]
		if len(values) == 0 || !c.Query[i].fits(values[0]) {
			return false
		}
	}
	return true
}
