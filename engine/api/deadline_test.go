package api_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/engine/api"
	"headway.dev/engine/api/apitest"
	"headway.dev/engine/api/registry"
	"headway.dev/manifests/model/change"
)

// deafGate holds each write of a namespace, whatever becomes of its request,
// until it is opened.
type deafGate chan struct{}

func (g deafGate) Review(_ context.Context, w change.Request) (change.Elsewhere, error) {
	if _, ok := w.Next.(*corev1.Namespace); ok {
		<-g
	}
	return nil, nil
}

// Whose request is not done by its deadline is told so, whether the handler
// hears of the deadline itself, at the same moment, or does not.
func TestDeadlines(t *testing.T) {
	deaf := make(deafGate)
	want := []string{
		"Timeout: request did not complete within the allotted timeout",
		"Timeout: request did not complete within requested timeout - context deadline exceeded",
	}
	for name, test := range map[string]struct {
		gate     registry.Gate
		requests int
	}{
		"a handler that hears":    {stuckGate{}, 100},
		"a handler that does not": {deaf, 10},
	} {
		t.Run(name, func(t *testing.T) {
			s := apitest.Start(t, func(c *api.Config) { c.Gate = test.gate })
			if test.gate == deaf {
				defer close(deaf)
			}
			for how, config := range map[string]*rest.Config{"over TLS": s.Config, "in process": s.API.InProcess("admin", "system:masters")} {
				config = rest.CopyConfig(config)
				config.QPS = -1
				client := kubernetes.NewForConfigOrDie(config).CoreV1().RESTClient()
				var group sync.WaitGroup
				for range test.requests {
					group.Go(func() {
						err := client.Patch(types.MergePatchType).AbsPath("/api/v1/namespaces/default").Param("timeout", "300ms").
							Body([]byte(`{"metadata":{"labels":{"a":"b"}}}`)).Do(t.Context()).Error()
						status, told := err.(apierrors.APIStatus)
						if !told || !apierrors.IsTimeout(err) || status.Status().Code != http.StatusGatewayTimeout || !slices.Contains(want, err.Error()) {
							t.Errorf("%s: got %T %v", how, err, err)
						}
					})
				}
				group.Wait()
			}
		})
	}
}

// Clients that ask for large answers and do not read them lose their places at
// the deadline.
func TestStalledReadersLoseTheirPlaces(t *testing.T) {
	s := apitest.Start(t)
	if _, err := kubernetes.NewForConfigOrDie(s.Config).CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "large"}, Data: map[string]string{"data": strings.Repeat("x", 1<<20)},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(t, s, "", args("create clusterrolebinding ada --clusterrole=view --user=ada"), "created")
	config, err := clientcmd.BuildConfigFromFlags("", s.KubeconfigFor(t, "ada"))
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"HTTP/2.0", "HTTP/1.1"} {
		t.Run(version, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			client := clientOf(t, config, version)
			get := func(path string) *http.Response {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Accept", "application/json")
				response, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				if response.Proto != version {
					t.Fatalf("got an answer over %s", response.Proto)
				}
				return response
			}
			const places = 100
			for range places {
				response := get("/api/v1/configmaps?timeout=1s")
				defer response.Body.Close()
			}
			// It waits for a place, and is refused after a while if there is none.
			response := get("/version")
			for response.StatusCode == http.StatusTooManyRequests && ctx.Err() == nil {
				response.Body.Close()
				response = get("/version")
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Errorf("got %s", response.Status)
			}
		})
	}
}

// clientOf makes a client of one version of HTTP that takes little in advance
// of what nobody reads.
func clientOf(t *testing.T, config *rest.Config, version string) *http.Client {
	t.Helper()
	secrets, err := rest.TLSConfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: secrets, DisableCompression: true, HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10}, Protocols: &http.Protocols{}}
	transport.Protocols.SetHTTP1(version == "HTTP/1.1")
	transport.Protocols.SetHTTP2(version == "HTTP/2.0")
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// Who sends the body of a request too slowly is told so, be it read or not, and
// not that the server failed.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	ada := s.KubeconfigFor(t, "ada")
	for _, version := range []string{"HTTP/2.0", "HTTP/1.1"} {
		for name, test := range map[string]struct {
			kubeconfig, query string
			code              int
			answer            string
		}{
			"its own deadline":       {s.Kubeconfig, "", http.StatusGatewayTimeout, "Timeout: the body of the request came in too slowly: 14 bytes in 15s"},
			"the request's deadline": {s.Kubeconfig, "?timeout=2s", http.StatusGatewayTimeout, "Timeout: request did not complete within the allotted timeout"},
			"nobody reads it":        {ada, "", http.StatusForbidden, `namespaces is forbidden: User \"ada\" cannot create resource`},
		} {
			t.Run(version+" "+name, func(t *testing.T) {
				t.Parallel()
				kubeconfig := test.kubeconfig
				config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
				defer cancel()
				body, w := io.Pipe()
				defer context.AfterFunc(ctx, func() { _ = w.Close() })()
				defer func() { _ = w.Close() }() // it never fails
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/api/v1/namespaces"+test.query, body)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				go func() { _, _ = io.WriteString(w, `{"apiVersion":`) }()
				response, err := clientOf(t, config, version).Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				got, err := io.ReadAll(response.Body)
				if err != nil || response.StatusCode != test.code || !strings.Contains(string(got), test.answer) || !strings.Contains(string(got), `"kind":"Status"`) {
					t.Errorf("got %s %s, %v; want %s", response.Status, got, err, test.answer)
				}
			})
		}
	}
}
