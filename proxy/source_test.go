package proxy_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/proxy"
)

// api speaks enough of the API's list and watch for two resources, without
// streaming lists. Every watch can be cut off, as a server does that restarts.
type api struct {
	mu      sync.Mutex
	objects map[string][]any // by resource
	watches map[string]chan map[string]any
	cut     chan struct{}
	*httptest.Server
}

func newAPI(t *testing.T) *api {
	t.Helper()
	a := &api{objects: map[string][]any{}, watches: map[string]chan map[string]any{}, cut: make(chan struct{})}
	for _, r := range []string{"services", "endpointslices", "nodes"} {
		a.watches[r] = make(chan map[string]any)
	}
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(func() { a.CloseClientConnections(); a.Close() })
	return a
}

func (a *api) serve(w http.ResponseWriter, r *http.Request) {
	resource := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	kind, version := "ServiceList", "v1"
	if resource == "endpointslices" {
		kind, version = "EndpointSliceList", "discovery.k8s.io/v1"
	}
	q := r.URL.Query()
	if resource == "nodes" {
		kind = "NodeList"
		if q.Get("fieldSelector") != "metadata.name=here" {
			http.Error(w, "other nodes are asked for", http.StatusBadRequest)
			return
		}
	} else if !strings.Contains(q.Get("labelSelector"), "!service.kubernetes.io/headless") {
		http.Error(w, "headless services are asked for", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	if q.Get("watch") == "" {
		a.mu.Lock()
		defer a.mu.Unlock()
		_ = enc.Encode(map[string]any{"kind": kind, "apiVersion": version, "metadata": map[string]any{"resourceVersion": "1"}, "items": a.objects[resource]})
		return
	}
	if q.Get("sendInitialEvents") != "" {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = enc.Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": 422})
		return
	}
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	a.mu.Lock()
	cut := a.cut
	a.mu.Unlock()
	for {
		select {
		case e := <-a.watches[resource]:
			_ = enc.Encode(e)
			w.(http.Flusher).Flush()
		case <-cut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// set stores the objects, sends the events of them, and returns when they are
// sent.
func (a *api) set(kind string, svc *corev1.Service, endpoints ...discoveryv1.Endpoint) {
	slice := sliceOf(svc, endpoints...)
	svc.Kind, svc.APIVersion, svc.ResourceVersion = "Service", "v1", "2"
	slice.Kind, slice.APIVersion, slice.ResourceVersion = "EndpointSlice", "discovery.k8s.io/v1", "2"
	a.mu.Lock()
	a.objects["services"], a.objects["endpointslices"] = []any{svc}, []any{slice}
	a.mu.Unlock()
	if kind != "" {
		a.watches["services"] <- map[string]any{"type": kind, "object": svc}
		a.watches["endpointslices"] <- map[string]any{"type": kind, "object": slice}
	}
}

// The proxy follows the API through client-go: the first list, changes, and
// what it missed while it was cut off.
func TestClientSource(t *testing.T) {
	servers(t, a, b, c)
	server := newAPI(t)
	server.set("", newService("web", vip, 0), ready(a))
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.New(proxy.Config{Client: client, Services: config, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := proxy.Cleanup(context.Background()); err != nil {
			t.Errorf("Cleanup: %v", err)
		}
	})
	leadsTo := func(ip string) func() bool {
		return func() bool { return leads(t, ip) }
	}
	eventually(t, "the first list is in the rules", leadsTo(a))
	server.set("MODIFIED", newService("web", vip, 0), ready(b))
	eventually(t, "the change is in the rules", leadsTo(b))
	answers(t, nil, 3)

	server.set("", newService("web", vip, 0), ready(c)) // no event for it
	server.mu.Lock()
	close(server.cut)
	server.cut = make(chan struct{})
	server.mu.Unlock()
	server.set("MODIFIED", newService("web", vip, 0), ready(c))
	eventually(t, "the change after the interruption is in the rules", leadsTo(c))
	server.set("DELETED", newService("web", vip, 0), ready(c))
	eventually(t, "the service is gone", func() bool { return !strings.Contains(saved(t), vip) })
}
