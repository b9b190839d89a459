package dns

import (
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"headway.dev/nodes/dns/forward"
)

// metrics are those of a name server.
type metrics struct {
	registry *prometheus.Registry
	queries  *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(f *forward.Forwarder) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		queries:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headway_dns_queries_total", Help: "Questions for names, by where the answer is from and its code."}, []string{"source", "rcode"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "headway_dns_query_duration_seconds", Help: "How long answers took, by where they are from.", Buckets: prometheus.ExponentialBuckets(0.00005, 4, 9),
		}, []string{"source"}),
	}
	counter := func(name, help string, value func() int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	m.registry.MustRegister(
		m.queries, m.seconds,
		counter("headway_dns_cache_hits_total", "Questions for names elsewhere that were answered from the cache.", f.Stats.Hits.Load),
		counter("headway_dns_cache_misses_total", "Questions for names elsewhere that were not in the cache.", f.Stats.Misses.Load),
		counter("headway_dns_forward_errors_total", "Questions for names elsewhere that no name server answered.", f.Stats.Errors.Load),
		counter("headway_dns_forward_refused_total", "Questions for names elsewhere that were refused, as too many waited.", f.Stats.Refused.Load),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headway_dns_cache_entries", Help: "Answers in the cache."}, func() float64 { return float64(f.Entries()) }),
	)
	return m
}

func (m *metrics) answered(from source, rcode int, took time.Duration) {
	name, ok := dns.RcodeToString[rcode]
	if !ok {
		name = "other"
	}
	m.queries.WithLabelValues(string(from), name).Inc()
	m.seconds.WithLabelValues(string(from)).Observe(took.Seconds())
}

// Metrics are those of the server.
func (s *Server) Metrics() prometheus.Gatherer { return s.metrics.registry }
