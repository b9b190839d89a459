package status

import (
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// A server that went back to an older state has lost a status that it had
// acknowledged: the list that follows says so, and it is written again.
func TestLostStatusIsWrittenAgain(t *testing.T) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "web-1", ResourceVersion: "5"}}
	client := fake.NewClientset()
	writes, version := 0, "10"
	client.PrependReactor("*", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		writes++
		answer := p.DeepCopy()
		answer.ResourceVersion = version
		return true, answer, nil
	})
	s := New(client, NewFirstLook(func() {}), slog.New(slog.DiscardHandler))
	defer s.keys.ShutDown()
	running := corev1.PodStatus{Phase: corev1.PodRunning}
	write := func() {
		t.Helper()
		s.Set(p, running, false)
		if err := s.write(t.Context(), p.UID); err != nil {
			t.Fatal(err)
		}
	}
	write()
	// What the watch brings late does not count.
	p.ResourceVersion = "7"
	write()
	if writes != 1 {
		t.Fatalf("%d writes, want 1", writes)
	}
	s.Listed(p)
	version = "8"
	write()
	if writes != 2 {
		t.Errorf("%d writes after the loss, want 2", writes)
	}
	// From there the versions go on.
	p.ResourceVersion = "9"
	p.Status.Phase = corev1.PodFailed
	s.Set(p, running, false)
	if same(s.pods[p.UID].sent, s.pods[p.UID].want) {
		t.Error("a change by others after the loss was not seen")
	}
}
