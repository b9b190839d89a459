package podautoscaler_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"headway.dev/engine/controllers/podautoscaler"
)

// The metrics APIs are asked for JSON, also by a config of a client that speaks protobuf,
// as those within the process do.
func TestMetricsAreReadAsJSON(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept"), runtime.ContentTypeProtobuf) {
			w.Header().Set("Content-Type", runtime.ContentTypeProtobuf)
			fmt.Fprint(w, "k8s\x00")
			return
		}
		if r.URL.Path != "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods" || r.URL.Query().Get("labelSelector") != "app=web" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", runtime.ContentTypeJSON)
		fmt.Fprint(w, `{"kind":"PodMetricsList","apiVersion":"metrics.k8s.io/v1beta1","items":[{"metadata":{"name":"web","namespace":"shop"},"timestamp":"2026-03-01T12:00:00Z","window":"15s","containers":[
			{"name":"main","usage":{"cpu":"200m","memory":"8Mi"}},{"name":"other","usage":{"cpu":"50m","memory":"1Mi"}}]}]}`)
	}))
	t.Cleanup(server.Close)
	metrics, err := podautoscaler.NewMetrics(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{
		ContentType: runtime.ContentTypeProtobuf, AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON,
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for container, want := range map[string]int64{"": 250, "main": 200} {
		got, err := metrics.Resource(t.Context(), "shop", labels.SelectorFromSet(labels.Set{"app": "web"}), corev1.ResourceCPU, container)
		if err != nil {
			t.Fatal(err)
		}
		for name, m := range got {
			m.At = m.At.UTC()
			got[name] = m
		}
		if d := cmp.Diff(map[string]podautoscaler.PodMetric{"web": {At: now, Window: 15 * time.Second, Value: want}}, got); d != "" {
			t.Errorf("container %q (-want +got):\n%s", container, d)
		}
	}
}
