package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

// unmarkable is a runtime that cannot note anything of its containers.
type unmarkable struct {
	runtime.Interface
	mu      sync.Mutex
	stopped []string
}

func (*unmarkable) Mark(context.Context, string, map[string]string) error {
	return errors.New("the disk is full")
}

func (u *unmarkable) StopContainer(_ context.Context, id string, _ time.Duration) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stopped = append(u.stopped, id)
	return nil
}

// A container of which it cannot be noted that it is to start again is stopped all the
// same.
func TestStopWithoutANote(t *testing.T) {
	u := &unmarkable{}
	w := &worker{env: &Env{Runtime: u, Events: &record.FakeRecorder{}, Log: slog.New(slog.DiscardHandler)}, learned: newLearned()}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	stop := pod.Stop{Containers: []pod.StopContainer{{ID: "c1", Spec: corev1.Container{Name: "app"}, Grace: time.Second, Again: "for another image"}}}
	if err := w.stopContainers(t.Context(), p, stop, runtime.Pod{}); err != nil {
		t.Error(err)
	}
	if len(u.stopped) != 1 || u.stopped[0] != "c1" {
		t.Errorf("stopped are %q, want c1", u.stopped)
	}
}
