package gitserver

import (
	"context"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Server serves repositories over Git's smart HTTP protocol.
type Server struct {
	// URL is the server's address, to which a repository's path below the root
	// is appended.
	URL string

	backend http.Handler

	mu             sync.Mutex
	user, password string
	fault          Fault
	requests       []string
}

// New serves the bare repositories below root to everyone, for reading and
// writing, until the test ends.
func New(tb testing.TB, root string) *Server {
	tb.Helper()
	s := start(tb, root)
	srv := httptest.NewServer(s)
	tb.Cleanup(srv.Close)
	s.URL = srv.URL
	return s
}

func start(tb testing.TB, root string) *Server {
	tb.Helper()
	out, err := exec.CommandContext(context.Background(), "git", "--exec-path").Output()
	if err != nil {
		tb.Fatal(err)
	}
	env := []string{
		"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=ada", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*", "GIT_CONFIG_KEY_1=http.receivepack", "GIT_CONFIG_VALUE_1=true",
	}
	return &Server{backend: &cgi.Handler{Path: strings.TrimSpace(string(out)) + "/git-http-backend", Env: env}}
}

// Require admits only requests with the user and the password, or with the
// password as bearer token. An empty password admits everyone.
func (s *Server) Require(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user, s.password = user, password
}

// Fail makes every request from now on meet the fault; nil ends that.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Requests are the requests so far, as "METHOD path?query".
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	fault, user, password := s.fault, s.user, s.password
	s.mu.Unlock()
	u, p, _ := r.BasicAuth()
	if password != "" && (u != user || p != password) && r.Header.Get("Authorization") != "Bearer "+password {
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if fault != nil {
		fault(w, r, s.backend)
		return
	}
	s.backend.ServeHTTP(w, r)
}

// Dead is the address of a server that takes connections and never answers.
func Dead(tb testing.TB) string {
	tb.Helper()
	l := listen(tb)
	done := make(chan struct{})
	var conns []net.Conn
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, c)
		}
	}()
	tb.Cleanup(func() {
		_ = l.Close()
		<-done
		for _, c := range conns {
			_ = c.Close()
		}
	})
	return l.Addr().String()
}

// Refused is an address where nobody listens.
func Refused(tb testing.TB) string {
	tb.Helper()
	l := listen(tb)
	defer l.Close()
	return l.Addr().String()
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return l
}
