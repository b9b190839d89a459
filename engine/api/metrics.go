package api

import (
	"net/http"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/metrics/legacyregistry"

	"headway.dev/engine/api/limits"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/scheme"
)

// metricsHandler serves the library's metrics, which are the process's, and
// those of one store and one server beside them.
func metricsHandler(s *store.Store, kinds *scheme.Registry, server prometheus.Gatherer) (http.Handler, error) {
	own := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{storeMetrics{s, kinds}, limits.Panics} {
		if err := own.Register(c); err != nil {
			return nil, err
		}
	}
	gatherers := prometheus.Gatherers{legacyregistry.DefaultGatherer, server, own}
	return promhttp.HandlerFor(gatherers, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}), nil
}

// storeMetrics reads the store when it is asked; labels are kinds, and the
// names of Flux' objects, never those of anything else.
type storeMetrics struct {
	store *store.Store
	kinds *scheme.Registry
}

var (
	storeObjects  = prometheus.NewDesc("headway_store_objects", "Number of stored objects.", []string{"group", "kind"}, nil)
	storeRevision = prometheus.NewDesc("headway_store_revision", "Revision of the newest change.", nil, nil)
	storeBytes    = prometheus.NewDesc("headway_store_file_bytes", "Size of the store's file.", nil, nil)
	storeFailing  = prometheus.NewDesc("headway_store_failing", "1 while writes to the store's file fail.", nil, nil)

	gitopsReady = prometheus.NewDesc("headway_gitops_ready",
		"1 if the Ready condition of a GitRepository or Kustomization is True, 0 if it is False, -1 while it is not known.",
		[]string{"kind", "namespace", "name"}, nil)
	gitopsSuspended = prometheus.NewDesc("headway_gitops_suspended", "1 if a GitRepository or Kustomization is suspended.", []string{"kind", "namespace", "name"}, nil)
	gitopsObjects   = prometheus.NewDesc("headway_kustomization_objects", "Number of objects in the inventory of a Kustomization.", []string{"namespace", "name"}, nil)
)

// Describe implements prometheus.Collector.
func (m storeMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{storeObjects, storeRevision, storeBytes, storeFailing, gitopsReady, gitopsSuspended, gitopsObjects} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m storeMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, k := range m.kinds.Kinds() {
		gauge(storeObjects, float64(m.store.Snapshot(k.GroupKind()).Len()), k.Group, k.Kind)
	}
	gauge(storeRevision, float64(m.store.Revision()))
	if size, err := m.store.FileSize(); err == nil {
		gauge(storeBytes, float64(size))
	}
	gauge(storeFailing, number(m.store.Err() != nil))
	// What follows Git can be suspended.
	for _, k := range scheme.Kinds() {
		if k.Suspension == nil {
			continue
		}
		list, _ := m.store.List(k.GroupKind(), "")
		for _, obj := range list {
			of := k.Suspension(obj)
			ready := -1.0
			if c := apimeta.FindStatusCondition(*of.Conditions, meta.ReadyCondition); c != nil && c.Status != metav1.ConditionUnknown {
				ready = number(c.Status == metav1.ConditionTrue)
			}
			gauge(gitopsReady, ready, k.Kind, obj.GetNamespace(), obj.GetName())
			gauge(gitopsSuspended, number(*of.Suspend), k.Kind, obj.GetNamespace(), obj.GetName())
			if ks, ok := obj.(*kustomizev1.Kustomization); ok {
				n := 0
				if ks.Status.Inventory != nil {
					n = len(ks.Status.Inventory.Entries)
				}
				gauge(gitopsObjects, float64(n), ks.Namespace, ks.Name)
			}
		}
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
