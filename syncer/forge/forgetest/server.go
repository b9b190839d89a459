// Package forgetest imitates GitHub, GitLab and Gitea in tests. It accepts
// exactly the requests of their published APIs that the forge package needs:
// another path, method, header, content type, field or state gets a 4xx answer,
// and is recorded as a complaint.
package forgetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"headway.dev/syncer/forge"
)

// Project is the path of the server's repository.
const Project = "team/deploy"

// Token is the only token that it accepts.
const Token = "forge-canary-7f3b"

// Status is a commit status as it arrived, in the words of the forge.
type Status struct{ SHA, State, Context, Description, Link string }

// Comment is a comment on a pull request.
type Comment struct {
	ID     int64
	Number int
	Body   string
	// Foreign ones cannot be edited with the token.
	Foreign bool
}

// Server is a forge with one repository.
type Server struct {
	// URL is the address of the host.
	URL  string
	kind forge.Kind
	http *httptest.Server

	mu         sync.Mutex
	statuses   []Status
	comments   []Comment
	complaints []string
	requests   int
	fault      func(w http.ResponseWriter) bool
}

// New serves a forge until the test ends, and then fails the test for every
// request that the real forge would not have accepted.
func New(tb testing.TB, kind forge.Kind) *Server {
	tb.Helper()
	s := &Server{kind: kind}
	s.http = httptest.NewServer(s)
	s.URL = s.http.URL
	tb.Cleanup(func() {
		s.http.Close()
		for _, c := range s.complaints {
			tb.Errorf("%s would refuse: %s", kind, c)
		}
	})
	return s
}

// Fail makes f answer requests instead, until f returns false.
func (s *Server) Fail(f func(w http.ResponseWriter) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Statuses returns the statuses that were set, in order.
func (s *Server) Statuses() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.statuses)
}

// Comments returns the existing comments.
func (s *Server) Comments() []Comment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.comments)
}

// Requests counts all requests.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Complaints returns, and clears, what was wrong with the requests so far.
func (s *Server) Complaints() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.complaints
	s.complaints = nil
	return list
}

// Say adds a comment.
func (s *Server) Say(c Comment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.ID = int64(len(s.comments) + 1)
	s.comments = append(s.comments, c)
}

// route is one request that the API has.
type route struct {
	method  string
	pattern *regexp.Regexp
	serve   func(s *Server, w http.ResponseWriter, r *http.Request, parts []string)
}

func routes(kind forge.Kind) []route {
	at := func(p string) *regexp.Regexp { return regexp.MustCompile("^" + p + "$") }
	switch kind {
	case forge.GitLab:
		base := "/api/v4/projects/team%2Fdeploy"
		return []route{
			{http.MethodPost, at(base + "/statuses/([0-9a-f]{40})"), (*Server).setStatus},
			{http.MethodGet, at(base + "/merge_requests/([0-9]+)/notes"), (*Server).list},
			{http.MethodPost, at(base + "/merge_requests/([0-9]+)/notes"), (*Server).create},
			{http.MethodPut, at(base + "/merge_requests/([0-9]+)/notes/([0-9]+)"), (*Server).edit},
		}
	case forge.GitHub, forge.Gitea:
		base := "/api/v3/repos/team/deploy"
		if kind == forge.Gitea {
			base = "/api/v1/repos/team/deploy"
		}
		return []route{
			{http.MethodPost, at(base + "/statuses/([0-9a-f]{40})"), (*Server).setStatus},
			{http.MethodGet, at(base + "/issues/([0-9]+)/comments"), (*Server).list},
			{http.MethodPost, at(base + "/issues/([0-9]+)/comments"), (*Server).create},
			{http.MethodPatch, at(base + "/issues/()comments/([0-9]+)"), (*Server).edit},
		}
	}
	panic("unknown forge " + kind)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.fault != nil {
		if s.fault(w) {
			return
		}
		s.fault = nil
	}
	header, want := "Authorization", map[forge.Kind]string{forge.GitHub: "Bearer " + Token, forge.Gitea: "token " + Token}[s.kind]
	if s.kind == forge.GitLab {
		header, want = "PRIVATE-TOKEN", Token
	}
	if r.Header.Get(header) != want {
		s.refuse(w, http.StatusUnauthorized, "wrong "+header)
		return
	}
	if s.kind == forge.GitHub && (r.Header.Get("Accept") != "application/vnd.github+json" || r.Header.Get("X-GitHub-Api-Version") != "2022-11-28") {
		s.refuse(w, http.StatusUnsupportedMediaType, "wrong Accept or X-GitHub-Api-Version")
		return
	}
	if r.Header.Get("User-Agent") != "headway" {
		s.refuse(w, http.StatusForbidden, "no User-Agent")
		return
	}
	if ct := r.Header.Get("Content-Type"); r.Method != http.MethodGet && ct != "application/json" {
		s.refuse(w, http.StatusUnsupportedMediaType, "Content-Type "+ct)
		return
	}
	for _, rt := range routes(s.kind) {
		if found := rt.pattern.FindStringSubmatch(r.URL.EscapedPath()); found != nil && rt.method == r.Method {
			rt.serve(s, w, r, found[1:])
			return
		}
	}
	s.refuse(w, http.StatusNotFound, r.Method+" "+r.URL.EscapedPath())
}

func (s *Server) refuse(w http.ResponseWriter, code int, why string) {
	s.complaints = append(s.complaints, why)
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"message":%q}`, why)
}

// body decodes a request's object of strings, with these fields and no others.
func (s *Server) body(w http.ResponseWriter, r *http.Request, fields ...string) (map[string]string, bool) {
	data, err := io.ReadAll(r.Body)
	var body map[string]string
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(data)).Decode(&body)
	}
	if err != nil {
		s.refuse(w, http.StatusBadRequest, "body "+string(data))
		return nil, false
	}
	for name := range body {
		if !slices.Contains(fields, name) {
			s.refuse(w, http.StatusUnprocessableEntity, "unknown field "+name)
			return nil, false
		}
	}
	return body, true
}

// states are the words that each forge takes.
var states = map[forge.Kind][]string{
	forge.GitHub: {"error", "failure", "pending", "success"},
	forge.GitLab: {"pending", "running", "success", "failed", "canceled", "skipped"},
	forge.Gitea:  {"pending", "success", "error", "failure", "warning"},
}

func (s *Server) setStatus(w http.ResponseWriter, r *http.Request, parts []string) {
	name := "context"
	if s.kind == forge.GitLab {
		name = "name"
	}
	body, ok := s.body(w, r, "state", "description", "target_url", name)
	if !ok {
		return
	}
	st := Status{SHA: parts[0], State: body["state"], Context: body[name], Description: body["description"], Link: body["target_url"]}
	link := st.Link == "" || strings.HasPrefix(st.Link, "https://") || strings.HasPrefix(st.Link, "http://")
	if !slices.Contains(states[s.kind], st.State) || st.Context == "" || len([]rune(st.Description)) > 140 || !link {
		s.refuse(w, http.StatusUnprocessableEntity, fmt.Sprintf("status %+v", st))
		return
	}
	if s.kind == forge.GitLab {
		for _, have := range slices.Backward(s.statuses) {
			if have.SHA == st.SHA && have.Context == st.Context {
				if have.State == st.State {
					w.WriteHeader(http.StatusBadRequest)
					fmt.Fprint(w, `{"message":"Cannot transition status via :run from :running (Reason(s): Status cannot transition via \"run\")"}`)
					return
				}
				break
			}
		}
	}
	s.statuses = append(s.statuses, st)
	w.WriteHeader(http.StatusCreated)
	fmt.Fprint(w, `{"id":1}`)
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, parts []string) {
	n, _ := strconv.Atoi(parts[0])
	found := []map[string]any{}
	for _, c := range s.comments {
		if c.Number == n {
			found = append(found, map[string]any{"id": c.ID, "body": c.Body, "user": map[string]any{"login": "x"}})
		}
	}
	if s.kind != forge.Gitea { // whose list has no pages
		size, err := strconv.Atoi(r.URL.Query().Get("per_page"))
		page, err2 := strconv.Atoi(r.URL.Query().Get("page"))
		if err != nil || err2 != nil || size > 100 || page < 1 {
			s.refuse(w, http.StatusBadRequest, "pages "+r.URL.RawQuery)
			return
		}
		found = found[min(len(found), size*(page-1)):min(len(found), size*page)]
	} else if r.URL.RawQuery != "" {
		s.refuse(w, http.StatusBadRequest, "query "+r.URL.RawQuery)
		return
	}
	_ = json.NewEncoder(w).Encode(found)
}

func (s *Server) create(w http.ResponseWriter, r *http.Request, parts []string) {
	body, ok := s.body(w, r, "body")
	if !ok {
		return
	}
	if body["body"] == "" || len(body["body"]) > 65536 {
		s.refuse(w, http.StatusUnprocessableEntity, "a comment of this length")
		return
	}
	n, _ := strconv.Atoi(parts[0])
	s.comments = append(s.comments, Comment{ID: int64(len(s.comments) + 1), Number: n, Body: body["body"]})
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"id":%d}`, len(s.comments))
}

func (s *Server) edit(w http.ResponseWriter, r *http.Request, parts []string) {
	body, ok := s.body(w, r, "body")
	if !ok {
		return
	}
	id, _ := strconv.Atoi(parts[1])
	if id < 1 || id > len(s.comments) {
		s.refuse(w, http.StatusNotFound, "comment "+parts[1])
		return
	}
	c := &s.comments[id-1]
	if c.Foreign {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"message":"Must have admin rights to Repository."}`)
		return
	}
	c.Body = body["body"]
	fmt.Fprintf(w, `{"id":%d}`, id)
}
