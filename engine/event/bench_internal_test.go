package event

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

type nowhere struct{}

func (nowhere) Commit(context.Context, change.Tx) ([]object.Object, error) { return nil, nil }

// BenchmarkRepeated is what an event costs that was told before.
func BenchmarkRepeated(b *testing.B) {
	r := NewRecorder(nowhere{}, time.Now, slog.New(slog.DiscardHandler))
	c := newCorrelator(time.Now)
	pods := make([]*corev1.Pod, 1000)
	for i := range pods {
		pods[i] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("web-%d", i), UID: "u"}}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.Warning("default-scheduler", pods[i%len(pods)], "FailedScheduling", "0/3 nodes are available: 3 Insufficient cpu.")
		e := <-r.entries
		r.correlate(c, e.event)
	}
}
