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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

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
	switch resource {
	case "endpointslices":
		kind, version = "EndpointSliceList", "discovery.k8s.io/v1"
	case "nodes":
		kind = "NodeList"
	}
	q := r.URL.Query()
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

// reflected follows one kind of the API's.
type reflected struct {
	kind  runtime.Object
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// Follow implements proxy.Follower.
func (r reflected) Follow(ctx context.Context, store cache.ReflectorStore) {
	lw := &cache.ListWatch{ListWithContextFunc: r.list, WatchFuncWithContext: r.watch}
	cache.NewReflectorWithOptions(lw, r.kind, store, cache.ReflectorOptions{}).RunWithContext(ctx)
}

// The proxy follows a cluster: the first list, changes, what it missed while it was cut
// off, and that a Service is another proxy's or has no address any more.
func TestClusterSource(t *testing.T) {
	servers(t, a, b, c)
	server := newAPI(t)
	server.set("", newService("web", vip, 0), ready(a))
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	services, slices, nodes := client.CoreV1().Services(""), client.DiscoveryV1().EndpointSlices(""), client.CoreV1().Nodes()
	cluster := proxy.Cluster{
		Services:       reflected{&corev1.Service{}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return services.List(ctx, o) }, services.Watch},
		EndpointSlices: reflected{&discoveryv1.EndpointSlice{}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return slices.List(ctx, o) }, slices.Watch},
		Nodes:          reflected{&corev1.Node{}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return nodes.List(ctx, o) }, nodes.Watch},
	}
	p, err := proxy.New(proxy.Config{Cluster: cluster, Services: config, Log: slog.New(slog.DiscardHandler)})
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
	others := newService("web", vip, 0)
	others.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
	server.set("MODIFIED", others, ready(c))
	eventually(t, "a service of another proxy is left to it", func() bool { return !strings.Contains(saved(t), vip) })
	server.set("MODIFIED", newService("web", vip, 0), ready(c))
	eventually(t, "the service is this one's again", leadsTo(c))
	headless := newService("web", vip, 0)
	headless.Labels = map[string]string{"service.kubernetes.io/headless": ""}
	server.set("MODIFIED", headless, ready(c))
	eventually(t, "a headless service has no rules", func() bool { return !strings.Contains(saved(t), vip) })
	server.set("MODIFIED", newService("web", vip, 0), ready(c))
	eventually(t, "the service has rules again", leadsTo(c))
	server.set("DELETED", newService("web", vip, 0), ready(c))
	eventually(t, "the service is gone", func() bool { return !strings.Contains(saved(t), vip) })
}
