package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/nodes/server"
)

// rights answers reviews from a list of "user verb subresource".
type rights []string

// Create implements server.Reviewer.
func (r rights) Create(_ context.Context, review *authorizationv1.SubjectAccessReview, _ metav1.CreateOptions) (*authorizationv1.SubjectAccessReview, error) {
	a := review.Spec.ResourceAttributes
	asked := strings.Join([]string{review.Spec.User, a.Verb, a.Resource + "/" + a.Subresource, a.Name}, " ")
	review.Status.Allowed = slices.Contains(r, asked) && slices.Contains(review.Spec.Groups, "system:authenticated")
	return review, nil
}

type noPods struct{}

func (noPods) Pod(string, string) (*corev1.Pod, bool) { return nil, false }
func (noPods) List() []corev1.Pod                     { return nil }

func TestAuthorization(t *testing.T) {
	handler := server.New("n1", noPods{}, nil, rights{
		"api get nodes/proxy n1", "api create nodes/proxy n1",
		"scraper get nodes/metrics n1", "reader get nodes/pods n1",
	}, nil, slog.New(slog.DiscardHandler))
	for _, test := range []struct {
		user, method, path string
		want               int
	}{
		{"", "GET", "/pods", http.StatusUnauthorized},
		{"ada", "GET", "/pods", http.StatusForbidden},
		{"ada", "GET", "/healthz", http.StatusForbidden},
		{"ada", "POST", "/exec/default/web/main", http.StatusForbidden},
		{"ada", "GET", "/exec/default/web/main", http.StatusForbidden},
		{"ada", "GET", "/containerLogs/default/web/main", http.StatusForbidden},
		{"ada", "POST", "/portForward/default/web", http.StatusForbidden},
		{"ada", "GET", "/metrics", http.StatusForbidden},
		{"scraper", "GET", "/metrics", http.StatusOK},
		{"scraper", "GET", "/metricsandmore", http.StatusForbidden},
		{"scraper", "GET", "/pods", http.StatusForbidden},
		{"reader", "GET", "/pods", http.StatusOK},
		{"reader", "GET", "/containerLogs/default/web/main", http.StatusForbidden},
		{"api", "GET", "/pods", http.StatusOK},
		{"api", "GET", "/healthz", http.StatusOK},
		{"api", "GET", "/metrics", http.StatusForbidden},
		{"api", "GET", "/containerLogs/default/web/main", http.StatusNotFound},
		{"api", "POST", "/exec/default/web/main?output=1&command=id", http.StatusNotFound},
	} {
		r := httptest.NewRequestWithContext(t.Context(), test.method, test.path, http.NoBody)
		r.TLS = &tls.ConnectionState{}
		if test.user != "" {
			r.TLS.VerifiedChains = [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: test.user}}}}
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != test.want {
			t.Errorf("%s %s %s: got %d %s, want %d", test.user, test.method, test.path, w.Code, w.Body, test.want)
		}
		if test.want == http.StatusForbidden && !strings.HasPrefix(w.Body.String(), "Forbidden (user="+test.user+", verb=") {
			t.Errorf("%s %s %s: said %q", test.user, test.method, test.path, w.Body)
		}
	}
}

// Requests of one connection share its certificate, which none may change.
func TestAuthorizationOfRequestsSideBySide(t *testing.T) {
	handler := server.New("n1", noPods{}, nil, rights{"reader get nodes/pods n1"}, nil, slog.New(slog.DiscardHandler))
	organizations := make([]string, 3, 8) // as appending makes them
	state := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: "reader", Organization: organizations}}}}}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/pods", http.NoBody)
			r.TLS = state
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		})
	}
	all.Wait()
	if got := organizations[:4][3]; got != "" {
		t.Errorf("a request has written %q behind the certificate's organizations", got)
	}
}
