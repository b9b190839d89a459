// Package server is the node's HTTPS endpoint, compatible with the kubelet's:
// logs, exec, attach and port-forward of the pods on this node, and a little
// about the node itself. The API server proxies kubectl's requests to it.
//
//	GET  /containerLogs/{namespace}/{pod}/{container}
//	GET,POST /exec, /attach/{namespace}/{pod}[/{uid}]/{container}
//	GET,POST /portForward/{namespace}/{pod}[/{uid}]
//	GET  /pods /healthz /metrics /metrics/resource /stats/summary
//
// [New] builds the handler over [Pods], which finds a pod, and the runtime. The
// TLS configuration of the listener says who a client is, by its certificate;
// what it may is asked of the API, by a SubjectAccessReview on nodes/proxy or
// the finer subresource that the path has.
package server

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/runtime"
)

// Pods is the part of the agent that the server uses.
type Pods interface {
	// Pod finds a pod of this node by name.
	Pod(namespace, name string) (*corev1.Pod, bool)
	List() []corev1.Pod
}

// Server answers the requests.
type Server struct {
	node    string
	pods    Pods
	runtime runtime.Interface
	reviews Reviewer
	more    prometheus.Gatherer
	log     *slog.Logger
}

// New returns the handler for the node with that name. What metrics has is part of
// /metrics; it may be nil.
func New(node string, pods Pods, r runtime.Interface, reviews Reviewer, metrics prometheus.Gatherer, log *slog.Logger) http.Handler {
	s := &Server{node: node, pods: pods, runtime: r, reviews: reviews, more: metrics, log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.containerLogs)
	for _, method := range []string{"GET", "POST"} {
		for _, uid := range []string{"", "/{uid}"} {
			mux.HandleFunc(method+" /exec/{namespace}/{pod}"+uid+"/{container}", s.exec)
			mux.HandleFunc(method+" /attach/{namespace}/{pod}"+uid+"/{container}", s.attach)
			mux.HandleFunc(method+" /portForward/{namespace}/{pod}"+uid, s.portForward)
		}
	}
	mux.HandleFunc("GET /pods", func(w http.ResponseWriter, _ *http.Request) {
		list := corev1.PodList{Items: s.pods.List()}
		list.Kind, list.APIVersion = "PodList", "v1"
		writeJSON(w, list)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	mux.HandleFunc("GET /stats/summary", s.summary)
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET /metrics/resource", s.resource)
	return guarded(s.authorize(mux))
}

// guarded ends a request that panics, and nothing else. net/http would do so,
// too, but count it nowhere.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			value := recover()
			if value == nil {
				return
			}
			if err, ok := value.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				guard.Report(r.Context(), "request to the node "+r.Method+" "+r.URL.Path, value)
			}
			panic(http.ErrAbortHandler)
		}()
		next.ServeHTTP(w, r)
	})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// lookup finds the pod of a request, or answers 404. A UID in the path has to be
// the pod's: another pod of the name must not be reached.
func (s *Server) lookup(w http.ResponseWriter, r *http.Request) (*corev1.Pod, bool) {
	p, ok := s.pods.Pod(r.PathValue("namespace"), r.PathValue("pod"))
	if ok && r.PathValue("uid") != "" && string(p.UID) != r.PathValue("uid") {
		ok = false
	}
	if !ok {
		http.Error(w, "pod does not exist", http.StatusNotFound)
	}
	return p, ok
}

// newest is the container's newest attempt that started, or the one before it.
func newest(observed runtime.Pod, name string, previous bool) (runtime.Container, bool) {
	var current, before runtime.Container
	for _, c := range observed.Containers {
		if c.Name != name {
			continue
		}
		switch {
		case current.ID == "" || c.Attempt > current.Attempt:
			before, current = current, c
		case before.ID == "" || c.Attempt > before.Attempt:
			before = c
		}
	}
	if previous {
		return before, before.ID != ""
	}
	return current, current.ID != ""
}
