package plugins

import (
	"sync"

	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/metrics"
)

// recorder counts what PodSecurity decides, in pod_security_evaluations_total
// and its like, which are the process's.
var recorder = sync.OnceValue(func() *metrics.PrometheusRecorder {
	r := metrics.NewPrometheusRecorder(api.LatestVersion())
	r.MustRegister(legacyregistry.MustRegister)
	return r
})
