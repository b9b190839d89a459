package serve

import (
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of a server.
type metrics struct {
	registry    *prometheus.Registry
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	open        prometheus.Gauge
	connections prometheus.Gauge
	refused     prometheus.Counter
	retries     prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headway_ingress_requests_total", Help: "Requests, by the Ingress whose rule they match and the status of the answer.",
		}, []string{"namespace", "ingress", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "headway_ingress_request_duration_seconds", Help: "How long requests took, from their header to the end of the answer.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 10),
		}, []string{"namespace", "ingress"}),
		open:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "headway_ingress_requests_open", Help: "Requests that are being answered."}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "headway_ingress_connections", Help: "Connections of clients."}),
		refused:     prometheus.NewCounter(prometheus.CounterOpts{Name: "headway_ingress_connections_refused_total", Help: "Connections of clients that were closed, as there were too many."}),
		retries:     prometheus.NewCounter(prometheus.CounterOpts{Name: "headway_ingress_retries_total", Help: "Requests that were sent to another endpoint, as one could not be connected to."}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.open, m.connections, m.refused, m.retries)
	return m
}

// Label is what figures have in place of the name of an Ingress: that, or KIND/NAME of a route.
func Label(kind, name string) string {
	if kind == "" {
		return name
	}
	return kind + "/" + name
}

// Forget drops the figures of an Ingress that is not served any more, or by its Label, of a
// route.
func (s *Server) Forget(namespace, name string) {
	labels := prometheus.Labels{"namespace": namespace, "ingress": name}
	s.metrics.requests.DeletePartialMatch(labels)
	s.metrics.seconds.DeletePartialMatch(labels)
}

// entry is a line of the access log.
type entry struct {
	Time time.Time `json:"time"`
	// Client is the address of the connection, or what the PROXY protocol says it is.
	Client   string `json:"client"`
	Method   string `json:"method"`
	Host     string `json:"host"`
	Path     string `json:"path"`
	Protocol string `json:"protocol"`
	TLS      bool   `json:"tls,omitempty"`
	Status   int    `json:"status"`
	Bytes    int64  `json:"bytes"`
	// Seconds are how long it took.
	Seconds float64 `json:"seconds"`
	// Ingress is the one whose rule the request matches.
	Ingress string `json:"ingress,omitempty"`
	// Route is the HTTPRoute or GRPCRoute whose rule it matches.
	Route   string `json:"route,omitempty"`
	Service string `json:"service,omitempty"`
	Retries int    `json:"retries,omitempty"`
	// Fault is why no backend has answered.
	Fault     string `json:"fault,omitempty"`
	UserAgent string `json:"userAgent,omitempty"`
}

// longest is how much the log has of what a client says.
const longest = 1024

func cutTo(s string) string {
	if len(s) > longest {
		return s[:longest]
	}
	return s
}

// done counts and logs a request that has ended. Queries are not logged: they have
// secrets.
func (s *Server) done(r *http.Request, x *exchange, w *recorder) {
	took := time.Since(x.began)
	var namespace, name, service string
	if a := x.action; a != nil {
		namespace, name, service = a.From.Namespace, Label(a.Kind, a.From.Name), x.backend().Service.Name
	}
	status := w.status
	if status == 0 {
		status = http.StatusOK
		if r.Context().Err() != nil {
			status = statusClientGone
		}
	}
	s.metrics.requests.WithLabelValues(namespace, name, strconv.Itoa(status)).Inc()
	s.metrics.seconds.WithLabelValues(namespace, name).Observe(took.Seconds())
	if s.log.Encoder == nil {
		return
	}
	e := entry{
		Time: x.began.UTC(), Client: r.RemoteAddr, Method: cutTo(r.Method), Host: cutTo(r.Host), Path: cutTo(r.URL.Path), Protocol: r.Proto, TLS: r.TLS != nil,
		Status: status, Bytes: w.bytes, Seconds: took.Seconds(), Service: service, Retries: x.retries, UserAgent: cutTo(r.UserAgent()),
	}
	if addr, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		e.Client = addr.Addr().Unmap().String()
	}
	if a := x.action; a != nil && a.Kind != "" {
		e.Route = a.Kind + " " + a.From.String()
	} else if a != nil && name != "" {
		e.Ingress = namespace + "/" + name
	}
	if x.fault != nil {
		e.Fault = cutTo(x.fault.Error())
	}
	s.log.Lock()
	defer s.log.Unlock()
	_ = s.log.Encode(e) // a log that cannot be written ends nothing
}
