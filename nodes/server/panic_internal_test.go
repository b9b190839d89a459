package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"headway.dev/nodes/runtime"
)

// counted counts the panics that are told until the test ends.
func counted(t *testing.T) *atomic.Int32 {
	t.Helper()
	n := &atomic.Int32{}
	before := utilruntime.PanicHandlers
	utilruntime.PanicHandlers = []func(context.Context, any){func(context.Context, any) { n.Add(1) }}
	t.Cleanup(func() { utilruntime.PanicHandlers = before })
	return n
}

type allowAll struct{}

func (allowAll) Create(_ context.Context, review *authorizationv1.SubjectAccessReview, _ metav1.CreateOptions) (*authorizationv1.SubjectAccessReview, error) {
	review.Status.Allowed = true
	return review, nil
}

// badPods panics when it is asked.
type badPods struct{ value any }

func (b badPods) Pod(string, string) (*corev1.Pod, bool) { panic(b.value) }
func (b badPods) List() []corev1.Pod                     { panic(b.value) }

// A request that panics is cut, told and counted; the next one is answered. An
// abort is no fault.
func TestPanicOfARequest(t *testing.T) {
	for name, test := range map[string]struct {
		value any
		want  int32
	}{"a fault": {"too much", 3}, "an abort": {http.ErrAbortHandler, 0}} {
		t.Run(name, func(t *testing.T) {
			n := counted(t)
			handler := New("n1", badPods{test.value}, nil, allowAll{}, nil, slog.New(slog.DiscardHandler))
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: "api"}}}}}
				handler.ServeHTTP(w, r)
			}))
			defer s.Close()
			get := func(path string) (*http.Response, error) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				return s.Client().Do(req)
			}
			for _, path := range []string{"/pods", "/containerLogs/default/web/main", "/attach/default/web/main?output=1"} {
				resp, err := get(path)
				if err == nil {
					resp.Body.Close()
					t.Errorf("%s was answered with %s", path, resp.Status)
				}
			}
			resp, err := get("/healthz")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "ok" {
				t.Errorf("the request after: %q, %v", text, err)
			}
			if got := n.Load(); got != test.want {
				t.Errorf("panics told: %d, want %d", got, test.want)
			}
		})
	}
}

// dialer reaches a pod that answers "hello".
type dialer struct{ runtime.Interface }

func (dialer) DialPod(context.Context, string, int32) (io.ReadWriteCloser, error) {
	here, there := net.Pipe()
	go func() {
		_, _ = io.WriteString(there, "hello")
		_, _ = io.Copy(io.Discard, there)
		_ = there.Close()
	}()
	return here, nil
}

// badStream panics when it is read from.
type badStream struct{ strings.Builder }

func (*badStream) Read([]byte) (int, error) { panic("this client is too much") }
func (*badStream) Close() error             { return nil }

// A client's stream that panics ends that forwarding and nothing else.
func TestPanicOfAForwardedPort(t *testing.T) {
	n := counted(t)
	if err := (streams{dialer{}}).PortForward(t.Context(), "web", "uid", 80, &badStream{}); err != nil && !strings.Contains(err.Error(), "closed") {
		t.Errorf("PortForward = %v", err)
	}
	if got := n.Load(); got != 1 {
		t.Errorf("panics told: %d, want 1", got)
	}
}
